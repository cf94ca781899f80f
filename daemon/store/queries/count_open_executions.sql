-- How many executions of a workflow have not ended, by status.
SELECT e.status, count(*) AS executions
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.status IN ('pending', 'running', 'waiting')
GROUP BY e.status
ORDER BY e.status
