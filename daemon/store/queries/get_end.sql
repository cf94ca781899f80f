-- How an execution has ended, for the one that waits for it.
SELECT e.status, e.output, e.error, e.completed_at FROM hark.workflow_executions AS e WHERE e.tenant_id = $1 AND e.id = $2
