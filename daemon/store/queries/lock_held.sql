-- Which of these executions ($3, $4) this instance ($1) still has, and keeps them there: before a flush is written again
-- because the answer to its COMMIT was lost. Locks in the order of record_progress.sql: licence, lanes, executions.
WITH licence AS MATERIALIZED (
    SELECT i.id, hark.lock_lanes_of($2::hark.progress_change[]) FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
)
SELECT e.id FROM licence CROSS JOIN unnest($3::uuid[], $4::uuid[]) AS u (tenant_id, id)
JOIN hark.workflow_executions AS e ON e.tenant_id = u.tenant_id AND e.id = u.id
-- Written so that no index serves it, as in record_progress.sql.
WHERE e.instance_id IS NOT DISTINCT FROM $1
ORDER BY e.id FOR NO KEY UPDATE OF e
