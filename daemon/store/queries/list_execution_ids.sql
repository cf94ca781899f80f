-- A page of executions, newest first: $2 > id >= $3, with one of the statuses $4 (NULL: any); parts too if $6.
SELECT e.id
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.id < $2 AND e.id >= $3
  AND ($4::text[] IS NULL OR e.status = ANY ($4)) AND ($6 OR e.part IS NULL)
ORDER BY e.id DESC
LIMIT $5
