-- Stores events that have no key and start nothing, and why not: what ingest_events.sql does, without all that these do not
-- need, which is half of what it costs. Its tag tells how many are stored: all, or none when the licence does not hold.
-- $1 instance, $2 generation of the registry that they were matched against: both must still hold. No event may be there already.
WITH licence AS MATERIALIZED (
    SELECT r.generation
    FROM hark.instances AS i CROSS JOIN hark.registry AS r
    WHERE i.id = $1 AND r.generation = $2
    FOR KEY SHARE OF i
), woken AS MATERIALIZED (
    SELECT hark.wake_waits($3::hark.arrived_event[]) FROM licence
), decided AS (
    INSERT INTO hark.event_decisions (tenant_id, event_id, workflow_id, trigger_id, reason, detail)
    SELECT u.tenant_id, u.event_id, u.workflow_id, u.trigger_id, u.reason, u.detail
    FROM licence, unnest($4::hark.arrived_refusal[]) AS u
    ON CONFLICT (tenant_id, event_id, workflow_id, trigger_id) DO NOTHING
)
INSERT INTO hark.events (tenant_id, id, kind, type, source, route, subject_kind, subject_id, data, occurred_at,
                         dedupe_key, depth, caused_by, also_caused_by, matched, passed_over)
SELECT u.tenant_id, u.id, u.kind, u.type, u.source, u.route, u.subject_kind, u.subject_id, u.data::jsonb,
       u.occurred_at, u.dedupe_key, u.depth, u.caused_by, u.also_caused_by, u.matched, u.passed_over
FROM woken, unnest($3::hark.arrived_event[]) AS u
