-- The executions of a tenant that have ended, between two ids, in their order.
SELECT e.id FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.id > $2 AND e.id < $3 AND e.completed_at IS NOT NULL
ORDER BY e.id LIMIT $4
