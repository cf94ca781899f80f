-- Deletes a batch of reasons that are older than $1; which batch an event has joined is kept as long as the event.
WITH old AS MATERIALIZED (
    SELECT d.tenant_id, d.event_id, d.workflow_id, d.trigger_id FROM hark.event_decisions AS d
    WHERE d.reason <> 'batched' AND d.event_id < hark.id_floor(now() - $1::interval) ORDER BY d.event_id LIMIT $2
), gone AS (
    DELETE FROM hark.event_decisions AS d USING old AS o
    WHERE d.tenant_id = o.tenant_id AND d.event_id = o.event_id AND d.workflow_id = o.workflow_id
      AND d.trigger_id = o.trigger_id AND d.event_id < hark.id_floor(now() - $1::interval)
      -- Says the same again, so that they are looked up by key, however many are expected.
      AND d.event_id = ANY (ARRAY(SELECT x.event_id FROM old AS x))
    RETURNING 1
)
SELECT count(*) FROM gone
