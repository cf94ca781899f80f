-- What was refused on the paths of a tenant within the last day, the latest first.
SELECT r.path, r.status, r.count, r.first_at, r.last_at, r.detail, r.method, r.client
FROM hark.hook_refusals AS r
WHERE r.tenant_id = $1 AND ($2::text IS NULL OR r.path = $2) AND r.last_at >= now() - interval '1 day'
ORDER BY r.last_at DESC, r.count DESC, r.path, r.status
LIMIT $3
