-- How long it takes to find the steps of an execution: $1 tenant, $2 execution.
EXPLAIN (ANALYZE, FORMAT JSON)
SELECT s.path, s.status FROM hark.workflow_steps AS s WHERE s.tenant_id = $1 AND s.execution_id = $2
ORDER BY s.seq, s.path LIMIT 1000
