-- Log lines since $2 of all executions and of those watched ($3), whose lines may be recorded long after they were
-- written: a step's lines come with its record. $4 one workflow, $5 one execution (NULL: all), $6 levels (NULL: all).
SELECT l.id, l.execution_id, w.slug AS workflow, l.path, l.level, l.message, l.data, hark.id_time(l.id) AS at
FROM (
    (SELECT n.* FROM hark.workflow_logs AS n
     WHERE n.tenant_id = $1 AND n.id >= $2 AND ($5::uuid IS NULL OR n.execution_id = $5)
     ORDER BY n.id DESC LIMIT 2000)
    UNION
    (SELECT o.* FROM hark.workflow_logs AS o
     WHERE o.tenant_id = $1 AND o.execution_id = ANY ($3::uuid[]) AND o.id >= $7
     ORDER BY o.id DESC LIMIT 2000)
) AS l
JOIN hark.workflow_executions AS e ON e.tenant_id = l.tenant_id AND e.id = l.execution_id
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE ($4::uuid IS NULL OR e.workflow_id = $4) AND ($6::text[] IS NULL OR l.level = ANY ($6))
ORDER BY l.id
