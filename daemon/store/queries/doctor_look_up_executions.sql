-- How long it takes to find the latest 50 executions of a workflow: $1 tenant, $2 workflow.
EXPLAIN (ANALYZE, FORMAT JSON)
SELECT e.id FROM hark.workflow_executions AS e WHERE e.tenant_id = $1 AND e.workflow_id = $2 ORDER BY e.id DESC LIMIT 50
