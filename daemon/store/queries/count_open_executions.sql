-- How many executions of a workflow have not ended, by status; of very many only the first $3 are counted.
SELECT o.status, count(*) AS executions
FROM (
    SELECT e.status FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.status IN ('pending', 'running', 'waiting')
    LIMIT $3
) AS o
GROUP BY o.status
ORDER BY o.status
