-- Stores events, what they started, and why others did not start; one transaction, for all arrivals of a flush.
-- $1 instance, $2 generation of the registry that they were matched against: both must still hold, or nothing is stored.
-- $11 the changes in the outbox that the events were made from, which go: all must be there, or nothing is stored. Nor is it
-- while another transaction takes some, and none takes any until this one has ended; see take_row_changes.sql.
-- Where nothing can be there yet, it goes without ON CONFLICT for the ids; see ingest.py.
WITH turn AS MATERIALIZED (
    SELECT CASE WHEN cardinality($11::bigint[]) > 0
        THEN pg_try_advisory_xact_lock(7020856, 'hark.row_changes'::regclass::oid::integer) END AS ours
), outbox AS MATERIALIZED (
    SELECT c.id FROM hark.row_changes AS c
    WHERE (SELECT ours FROM turn) AND c.id = ANY ($11::bigint[]) AND c.parked_at IS NULL
    FOR UPDATE SKIP LOCKED
), licence AS MATERIALIZED (
    SELECT r.generation, hark.lock_lanes($9::uuid[], $10::uuid[])
    FROM hark.instances AS i CROSS JOIN hark.registry AS r
    WHERE i.id = $1 AND r.generation = $2 AND (SELECT count(*) FROM outbox) = cardinality($11::bigint[])
    FOR KEY SHARE OF i
), taken AS (
    DELETE FROM hark.row_changes AS c USING licence WHERE c.id = ANY ($11::bigint[])
), keys AS (
    INSERT INTO hark.event_keys AS k (tenant_id, source, key, event_id, digest, expires_at)
    SELECT u.tenant_id, u.source, u.key, u.event_id, u.digest, u.expires_at
    FROM licence, unnest($3::hark.arrived_key[]) AS u
    ON CONFLICT (tenant_id, source, key) DO UPDATE
        SET event_id = excluded.event_id, digest = excluded.digest, expires_at = excluded.expires_at
        WHERE k.expires_at < now()
    RETURNING event_id
), stored AS (
    INSERT INTO hark.events (tenant_id, id, kind, type, source, route, subject_kind, subject_id, data, occurred_at,
                             dedupe_key, depth, caused_by, also_caused_by, matched, passed_over)
    SELECT u.tenant_id, u.id, u.kind, u.type, u.source, u.route, u.subject_kind, u.subject_id, u.data::jsonb,
           u.occurred_at, u.dedupe_key, u.depth, u.caused_by, u.also_caused_by, u.matched, u.passed_over
    FROM licence, unnest($4::hark.arrived_event[]) AS u
    WHERE u.gate IS NULL OR u.gate IN (SELECT event_id FROM keys)
    ON CONFLICT (tenant_id, id) DO NOTHING
), parents AS MATERIALIZED (
    SELECT w.tenant_id, w.id
    FROM unnest($5::uuid[], $6::uuid[]) AS u (tenant_id, id)
    JOIN hark.workflows AS w USING (tenant_id, id)
    FOR KEY SHARE OF w
), started AS (
    INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, ordinal, trigger_id,
                                          trigger_type, status, mode, priority, instance_id, claims, deadline_at, depth,
                                          origin_id, parent_id, parent_path, subject_kind, subject_id, inputs, variables,
                                          sealed, metadata, limits, started_at)
    SELECT u.tenant_id, u.id, u.workflow_id, u.version, u.event_id, u.ordinal, u.trigger_id, u.trigger_type, u.status,
           u.mode, u.priority, CASE u.status WHEN 'running' THEN $1 END, CASE u.status WHEN 'running' THEN 1 ELSE 0 END,
           u.deadline_at, u.depth, u.origin_id, u.parent_id, u.parent_path, u.subject_kind, u.subject_id, u.inputs::jsonb,
           u.variables::jsonb, u.sealed, u.metadata::jsonb, u.limits::jsonb, CASE u.status WHEN 'running' THEN now() END
    FROM licence, unnest($7::hark.arrived_execution[]) AS u
    -- IS TRUE keeps it a look into a hash. As a join it is planned for one parent, and compares every start with every one.
    WHERE ((u.tenant_id, u.workflow_id) IN (SELECT p.tenant_id, p.id FROM parents AS p)) IS TRUE
      AND (u.gate IS NULL OR u.gate IN (SELECT event_id FROM keys))
    ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING id, status, due_at
), decided AS (
    INSERT INTO hark.event_decisions (tenant_id, event_id, workflow_id, trigger_id, reason, detail)
    SELECT u.tenant_id, u.event_id, u.workflow_id, u.trigger_id, u.reason, u.detail
    FROM licence, unnest($8::hark.arrived_refusal[]) AS u
    WHERE u.gate IS NULL OR u.gate IN (SELECT event_id FROM keys)
    ON CONFLICT (tenant_id, event_id, workflow_id, trigger_id) DO NOTHING
)
SELECT (SELECT generation FROM licence) AS generation,
       (SELECT count(*) FROM outbox) = cardinality($11::bigint[]) AS complete,
       ARRAY(SELECT event_id FROM keys) AS keyed,
       ARRAY(SELECT id FROM started WHERE status = 'running') AS started,
       ARRAY(SELECT id FROM started) AS stored, (SELECT min(due_at) FROM started) AS due_at,
       CASE WHEN EXISTS (SELECT FROM licence) THEN hark.wake_waits($4::hark.arrived_event[]) END AS woken
