-- A page of the logs of all executions ($3 > id >= $2), of the levels $4 and of workflow $5 (NULL: all), newest first.
SELECT l.id, l.execution_id, w.slug AS workflow, l.path, l.level, l.message, l.data, hark.id_time(l.id) AS at
FROM hark.workflow_logs AS l
JOIN hark.workflow_executions AS e ON e.tenant_id = l.tenant_id AND e.id = l.execution_id
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE l.tenant_id = $1 AND l.id >= $2 AND l.id < $3
  AND ($4::text[] IS NULL OR l.level = ANY ($4))
  AND ($5::uuid IS NULL OR e.workflow_id = $5)
ORDER BY l.id DESC
LIMIT $6
