-- Removes a piece of the list of what an erasure takes; how much.
WITH piece AS MATERIALIZED (
    SELECT what, id FROM hark.erasing WHERE tenant_id = $1 AND erasure_id = $2 ORDER BY seq LIMIT $3
), gone AS (
    DELETE FROM hark.erasing AS x USING piece AS p
    WHERE x.tenant_id = $1 AND x.erasure_id = $2 AND x.what = p.what AND x.id = p.id RETURNING 1
)
SELECT count(*) FROM gone
