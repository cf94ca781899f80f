-- The executions of a workflow that have not ended.
SELECT e.id FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.status IN ('pending', 'running', 'waiting')
ORDER BY e.id
LIMIT $3
