-- How far a step that waits for an event has looked.
SELECT w.scanned_until FROM hark.event_waits AS w WHERE w.tenant_id = $1 AND w.execution_id = $2 AND w.path = $3
