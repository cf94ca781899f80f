-- The executions of one event: they carry its time in their ids, so the primary key finds them ($3 to $4).
SELECT e.id
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.event_id = $2 AND e.part IS NULL AND e.id >= $3 AND e.id < $4
ORDER BY e.id DESC
LIMIT 1000
