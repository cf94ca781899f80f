-- An execution's state, for those who want to cancel it or wait for it.
SELECT e.id, e.status, e.completed_at
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.id = $2
