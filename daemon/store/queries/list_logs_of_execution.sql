-- One execution's logs between two ids ($4 > id >= $3), of the levels $5 (NULL: all), newest first.
SELECT l.id, l.execution_id, w.slug AS workflow, l.path, l.level, l.message, l.data, hark.id_time(l.id) AS at
FROM hark.workflow_logs AS l
JOIN hark.workflow_executions AS e ON e.tenant_id = l.tenant_id AND e.id = l.execution_id
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE l.tenant_id = $1 AND l.execution_id = $2 AND l.id >= $3 AND l.id < $4
  AND ($5::text[] IS NULL OR l.level = ANY ($5))
ORDER BY l.id DESC
LIMIT $6
