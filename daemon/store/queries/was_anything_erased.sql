-- Whether something of these tenants ($1) is being erased, or was within the last $2.
SELECT EXISTS (SELECT FROM hark.erasures AS r WHERE r.ended_at IS NULL AND r.tenant_id = ANY ($1::uuid[]))
    OR EXISTS (SELECT FROM hark.erasures AS r WHERE r.ended_at >= now() - $2::interval AND r.tenant_id = ANY ($1::uuid[]))
