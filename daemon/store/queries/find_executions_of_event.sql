-- The executions of one event. They carry its time in their ids ($3 to $4), so the primary key finds them.
SELECT id FROM hark.workflow_executions
WHERE tenant_id = $1 AND event_id = $2 AND part IS NULL AND id >= $3 AND id < $4
ORDER BY ordinal, id
