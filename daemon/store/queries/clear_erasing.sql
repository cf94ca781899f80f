-- Removes a piece of the list of what an erasure takes; how much.
WITH piece AS MATERIALIZED (
    SELECT seq FROM hark.erasing WHERE tenant_id = $1 AND erasure_id = $2 LIMIT $3
), gone AS (
    DELETE FROM hark.erasing AS x USING piece AS p WHERE x.seq = p.seq RETURNING 1
)
SELECT count(*) FROM gone
