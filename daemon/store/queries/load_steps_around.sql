-- The ended steps of their whole that parts ($2) see: those beside the distributed step, and beside each loop around it.
-- A part may be a part of a part: then each of them has some of the steps.
WITH RECURSIVE line AS (
    SELECT u.tenant_id, u.id AS part_id, e.part ->> 'path' AS path, e.parent_id AS whole_id
    FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id)
    JOIN hark.workflow_executions AS e ON e.tenant_id = u.tenant_id AND e.id = u.id
    UNION ALL
    SELECT l.tenant_id, l.part_id, l.path, e.parent_id
    FROM line AS l
    JOIN hark.workflow_executions AS e ON e.tenant_id = l.tenant_id AND e.id = l.whole_id
    WHERE e.part IS NOT NULL
)
SELECT l.part_id, s.path, s.status, s.output, s.error
FROM line AS l
JOIN hark.workflow_steps AS s ON s.tenant_id = l.tenant_id AND s.execution_id = l.whole_id
WHERE s.completed_at IS NOT NULL AND right(s.path, 1) <> ']'
  AND starts_with(l.path, coalesce(substring(s.path FROM '^(.*\.)[^.]*$'), ''))
ORDER BY length(s.path)
