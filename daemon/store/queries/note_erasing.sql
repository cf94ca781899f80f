-- Notes more that is to be erased; how much of it was not yet.
WITH noted AS (
    INSERT INTO hark.erasing (tenant_id, erasure_id, what, id)
    SELECT $1, $2, u.what, u.id FROM unnest($3::text[], $4::uuid[]) AS u (what, id)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM noted
