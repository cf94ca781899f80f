-- The executions that repeat one: retries and replays, which carry the event's time ($4 to $5) in their ids too.
SELECT e.id FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.event_id = $3 AND e.id >= $4 AND e.id < $5 AND e.origin_id = $6
ORDER BY e.ordinal
