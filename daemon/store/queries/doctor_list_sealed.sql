-- With which keys the secrets of open executions are sealed.
SELECT encode(substring(e.sealed FROM 2 FOR 8), 'hex') AS key_id, count(*) AS executions
FROM hark.workflow_executions AS e
WHERE e.sealed IS NOT NULL AND e.completed_at IS NULL
GROUP BY substring(e.sealed FROM 2 FOR 8)
ORDER BY 1
