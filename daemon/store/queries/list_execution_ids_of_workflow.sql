-- A page of one workflow's executions, newest first: $2 > id >= $3, with one of the statuses $4 (NULL: any); parts too if $7.
SELECT e.id
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.workflow_id = $6 AND e.id < $2 AND e.id >= $3
  AND ($4::text[] IS NULL OR e.status = ANY ($4)) AND ($7 OR e.part IS NULL)
ORDER BY e.id DESC
LIMIT $5
