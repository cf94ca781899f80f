-- A retry has the events of the batch that it repeats: execution $3 of $2.
INSERT INTO hark.execution_events (tenant_id, execution_id, event_id, position)
SELECT x.tenant_id, $3, x.event_id, x.position
FROM hark.execution_events AS x
WHERE x.tenant_id = $1 AND x.execution_id = $2
ON CONFLICT DO NOTHING
