-- The highest ordinal that an event has with a workflow; all of them carry the event's time ($4 to $5) in their ids.
SELECT max(ordinal) FROM hark.workflow_executions
WHERE tenant_id = $1 AND workflow_id = $2 AND event_id = $3 AND id >= $4 AND id < $5
