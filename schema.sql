-- Hark's schema, whole. `psql -f schema.sql` on an empty database gives what `hark run` gives.
--
-- Rules that hold everywhere:
--   * every row belongs to a tenant, and tenant_id leads every key;
--   * ids are UUIDs in the layout of version 7 (RFC 9562): 48 bits of Unix time in milliseconds lead them;
--   * history (events, executions, steps, timeline, logs, decisions) is partitioned by the time in its leading id,
--     a step, a log line or a timeline entry by the id of its execution, so that all of an execution lies together;
--   * no foreign keys among history tables (they cost 15 times an insert and forbid dropping a partition): whoever
--     starts executions locks the parents FOR KEY SHARE in the same statement, and deleting a parent deletes history;
--   * states are CHECKed text, no enum types: equality of enums is not leakproof, so row level security would
--     keep it from using an index.

BEGIN;

-- Two processes that create the schema at once: the second waits here, then fails on CREATE SCHEMA and changes nothing.
SELECT pg_advisory_xact_lock(7020851);

CREATE SCHEMA hark;
COMMENT ON SCHEMA hark IS 'Hark: workflows, what triggered them, and the record of every execution.';

SET LOCAL search_path = hark, pg_catalog;
SET LOCAL client_min_messages = warning;

-- ---------------------------------------------------------------------------------------------- ids and time

CREATE FUNCTION new_id(moment timestamptz DEFAULT clock_timestamp()) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog
    RETURN encode(
        set_byte(
            set_byte(
                overlay(uuid_send(gen_random_uuid())
                        PLACING substring(int8send((extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
                6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112),
            8, (get_byte(uuid_send(gen_random_uuid()), 1) & 63) | 128),
        'hex')::uuid;
COMMENT ON FUNCTION new_id IS 'A random id that sorts by time (UUID version 7; PostgreSQL 15 has no function for it).';

CREATE FUNCTION id_time(id uuid) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
    RETURN to_timestamp(('x0000' || left(replace(id::text, '-', ''), 12))::bit(64)::bigint / 1000.0);
COMMENT ON FUNCTION id_time IS 'The time that is written into an id.';

CREATE FUNCTION id_floor(moment timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
    RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
COMMENT ON FUNCTION id_floor IS 'The smallest id of a moment: the bound for ranges by time.';

-- ---------------------------------------------------------------------------------------------- housekeeping

CREATE TABLE schema_migrations (
    version      integer PRIMARY KEY CHECK (version > 0),
    description  text NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_migrations IS 'Which version the schema has; the highest one counts.';

CREATE TABLE registry (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation  bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE registry IS
    'One row: how often the set of active workflows has changed. Every statement that stores events checks it, so that '
    'no event is matched against workflows that are no longer current.';
INSERT INTO registry DEFAULT VALUES;

CREATE TABLE instances (
    id            uuid PRIMARY KEY,
    heartbeat     bigint NOT NULL DEFAULT 0,
    heartbeat_at  timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz NOT NULL DEFAULT now(),
    host          text NOT NULL,
    host_boot     text NOT NULL DEFAULT '',
    pid           integer NOT NULL,
    pid_started   bigint NOT NULL DEFAULT 0,
    version       text NOT NULL,
    backend_pids  integer[] NOT NULL DEFAULT '{}',
    state         text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'draining')),
    asleep        boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE instances IS
    'The daemon processes that work on this database. A row is the licence to write: every write of an instance first '
    'locks it FOR KEY SHARE, and whoever takes over a dead instance''s work deletes it first.';
COMMENT ON COLUMN instances.heartbeat IS 'Counts up while the instance lives; others judge by its standing still, not by clocks.';
COMMENT ON COLUMN instances.host_boot IS 'Boot id and process namespace of the host: on the same one, a gone pid is a dead instance.';
COMMENT ON COLUMN instances.pid_started IS 'Start time of the process in clock ticks since boot, against reused pids.';
COMMENT ON COLUMN instances.backend_pids IS 'Server processes of its connections, to be ended with it when it froze in a transaction.';
COMMENT ON COLUMN instances.asleep IS 'It has nothing to do and wants to be woken by NOTIFY.';

-- ---------------------------------------------------------------------------------------------- who

CREATE TABLE tenants (
    id          uuid PRIMARY KEY,
    slug        text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,99}$'),
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenants IS 'Owners of workflows, events, executions and secrets.';
INSERT INTO tenants (id, slug, name) VALUES ('00000000-0000-7000-8000-000000000001', 'default', 'Default');

CREATE TABLE api_keys (
    tenant_id     uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    name          text NOT NULL,
    digest        bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    scopes        text[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE api_keys IS 'Keys to the API.';
COMMENT ON COLUMN api_keys.digest IS 'SHA-256 of the key; the key itself is random with 256 bits and is shown once.';

-- ---------------------------------------------------------------------------------------------- workflows

CREATE TABLE workflows (
    tenant_id          uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id                 uuid NOT NULL,
    slug               text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,99}$' AND slug <> 'executions'),
    name               text NOT NULL CHECK (name <> ''),
    description        text,
    category           text,
    tags               text[] NOT NULL DEFAULT '{}',
    status             text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'active', 'archived')),
    paused_at          timestamptz,
    active_since       timestamptz,
    is_template        boolean NOT NULL DEFAULT false,
    published_version  integer,
    latest_version     integer NOT NULL DEFAULT 0 CHECK (latest_version >= 0),
    created_by         uuid,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    is_active          boolean GENERATED ALWAYS AS (status = 'active' AND paused_at IS NULL) STORED,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, slug),
    CONSTRAINT active_is_published CHECK (status <> 'active' OR published_version IS NOT NULL),
    CONSTRAINT template_never_starts CHECK (NOT (is_template AND status = 'active'))
);
COMMENT ON TABLE workflows IS 'Named automations. What they do stands in workflow_versions.';
COMMENT ON COLUMN workflows.status IS 'draft: not published; active: its triggers may start it; archived: kept for its history.';
COMMENT ON COLUMN workflows.paused_at IS 'Since when its triggers are switched off; NULL when they are on.';
COMMENT ON COLUMN workflows.active_since IS 'When it was last switched on (published first, or resumed): no slot from before is made up for.';
CREATE INDEX workflows_by_created ON workflows (tenant_id, created_at, id);
COMMENT ON INDEX workflows_by_created IS 'list_workflows.sql';
CREATE INDEX workflows_by_tag ON workflows USING gin (tags);
COMMENT ON INDEX workflows_by_tag IS 'list_workflows.sql with tags';

CREATE TABLE workflow_versions (
    tenant_id     uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    version       integer NOT NULL CHECK (version > 0),
    content_hash  text NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    definition    jsonb NOT NULL CHECK (jsonb_typeof(definition) = 'object'),
    created_by    uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, workflow_id, version),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_versions IS 'Immutable numbered definitions, in normalised form.';
ALTER TABLE workflows ADD CONSTRAINT published_version_exists
    FOREIGN KEY (tenant_id, id, published_version) REFERENCES workflow_versions (tenant_id, workflow_id, version)
    DEFERRABLE INITIALLY DEFERRED;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'a row of % never changes', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON workflow_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE workflow_triggers (
    tenant_id    uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    id           text NOT NULL,
    kind         text NOT NULL,
    route        text NOT NULL,
    event_type   text,
    config       jsonb NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id, id),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_triggers IS 'The triggers of each workflow''s published version, opened up for look-ups.';
COMMENT ON COLUMN workflow_triggers.route IS 'The key under which events find it, such as row:public.clients or event:CLIENT_CREATED.';
COMMENT ON COLUMN workflow_triggers.event_type IS 'The event type that it publishes (`as`).';
CREATE INDEX workflow_triggers_by_route ON workflow_triggers (tenant_id, route);
COMMENT ON INDEX workflow_triggers_by_route IS 'find_workflows_by_route.sql: which workflows an event can start';

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER workflows_touch BEFORE UPDATE ON workflows FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE FUNCTION announce_workflows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = hark, pg_catalog AS $$
BEGIN
    UPDATE registry SET generation = generation + 1;
    PERFORM pg_notify('hark_registry', '');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION announce_workflows IS 'Tells all instances that the set of active workflows may have changed, whoever changed it.';
CREATE TRIGGER workflows_announce AFTER INSERT OR UPDATE OR DELETE ON workflows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_workflows();

CREATE TABLE schedules (
    tenant_id      uuid NOT NULL,
    workflow_id    uuid NOT NULL,
    trigger_id     text NOT NULL,
    schedule       text NOT NULL,
    timezone       text NOT NULL,
    settled_until  timestamptz NOT NULL,
    last_slot      timestamptz,
    PRIMARY KEY (tenant_id, workflow_id, trigger_id),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE schedules IS 'How far each cron trigger has come; moves forward only. That a slot fires once is kept by event_keys.';
COMMENT ON COLUMN schedules.settled_until IS 'Every slot up to here has fired or was passed over by the trigger''s policy.';

-- ---------------------------------------------------------------------------------------------- events

CREATE TABLE events (
    tenant_id     uuid NOT NULL,
    id            uuid NOT NULL,
    kind          text NOT NULL,
    type          text NOT NULL,
    source        text NOT NULL,
    route         text NOT NULL,
    subject_kind  text,
    subject_id    text,
    data          jsonb NOT NULL,
    occurred_at   timestamptz NOT NULL,
    dedupe_key    text,
    depth         smallint NOT NULL DEFAULT 0,
    caused_by     uuid,
    matched       boolean NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT subject_is_whole CHECK ((subject_kind IS NULL) = (subject_id IS NULL))
) PARTITION BY RANGE (id);
COMMENT ON TABLE events IS 'Everything that happened, matched or not. The id carries the time at which it was stored, by the database''s clock.';
COMMENT ON COLUMN events.kind IS 'The trigger kind it came by: row, notify, cron, webhook, event, manual.';
COMMENT ON COLUMN events.depth IS 'How many executions stand between this event and the outside world; loops end at a limit.';
COMMENT ON COLUMN events.caused_by IS 'The execution that published it.';
COMMENT ON COLUMN events.matched IS 'Whether it started anything; what did not has a short life of its own.';
CREATE INDEX events_by_route ON events (tenant_id, route, id);
COMMENT ON INDEX events_by_route IS 'list_events.sql by type; stored events for a wait or a dry run';
CREATE INDEX events_unmatched ON events (id) WHERE NOT matched;
COMMENT ON INDEX events_unmatched IS 'prune_unmatched_events.sql';

CREATE TABLE event_keys (
    tenant_id   uuid NOT NULL,
    source      text NOT NULL,
    key         text NOT NULL,
    event_id    uuid NOT NULL,
    digest      bytea NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, source, key)
) WITH (fillfactor = 90);
COMMENT ON TABLE event_keys IS
    'Which delivery ids, cron slots and caller''s keys have been seen. Not partitioned: uniqueness has to hold over all time.';
COMMENT ON COLUMN event_keys.digest IS 'Hash of the data: the same key with another one is a conflict.';
CREATE INDEX event_keys_by_expiry ON event_keys (expires_at);
COMMENT ON INDEX event_keys_by_expiry IS 'prune_event_keys.sql';

CREATE TABLE event_decisions (
    tenant_id    uuid NOT NULL,
    event_id     uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    trigger_id   text NOT NULL,
    reason       text NOT NULL,
    detail       text,
    PRIMARY KEY (tenant_id, event_id, workflow_id, trigger_id)
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE event_decisions IS 'Why a workflow that an event was offered to did not start. One that did start has an execution instead.';
COMMENT ON COLUMN event_decisions.reason IS 'not_concerned, when_false, condition_false, expression_error, inputs_invalid, depth_limit …';

-- ---------------------------------------------------------------------------------------------- executions

CREATE TABLE workflow_executions (
    tenant_id            uuid NOT NULL,
    id                   uuid NOT NULL,
    workflow_id          uuid NOT NULL,
    version              integer NOT NULL,
    event_id             uuid NOT NULL,
    ordinal              integer NOT NULL DEFAULT 0 CHECK (ordinal >= 0),
    trigger_id           text,
    trigger_type         text NOT NULL,
    status               text NOT NULL CHECK (status IN
                             ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'timeout', 'skipped')),
    pending_reason       text,
    mode                 text NOT NULL DEFAULT 'production' CHECK (mode IN ('production', 'test', 'dry_run')),
    priority             smallint NOT NULL DEFAULT 0,
    instance_id          uuid,
    claims               smallint NOT NULL DEFAULT 0,
    due_at               timestamptz,
    deadline_at          timestamptz,
    cancel_requested_at  timestamptz,
    depth                smallint NOT NULL DEFAULT 0,
    origin_id            uuid,
    parent_id            uuid,
    subject_kind         text,
    subject_id           text,
    inputs               jsonb,
    output               jsonb,
    error                jsonb,
    metadata             jsonb,
    started_at           timestamptz,
    completed_at         timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT ended_has_time CHECK
        ((status IN ('completed', 'failed', 'cancelled', 'timeout', 'skipped')) = (completed_at IS NOT NULL)),
    CONSTRAINT ended_has_no_owner CHECK (completed_at IS NULL OR instance_id IS NULL),
    CONSTRAINT running_has_owner CHECK ((status = 'running') = (instance_id IS NOT NULL)),
    CONSTRAINT failed_says_why CHECK (status <> 'failed' OR error IS NOT NULL)
) PARTITION BY RANGE (id);
COMMENT ON TABLE workflow_executions IS
    'Runs of workflow versions. The id is derived from (workflow, event, ordinal), so the primary key is what makes one '
    'event start a workflow once; it carries the event''s time.';
COMMENT ON COLUMN workflow_executions.ordinal IS '0 for the start; every retry or replay of the same event takes the next one and names its origin.';
COMMENT ON COLUMN workflow_executions.pending_reason IS 'Why it has not started or has to start again: queued, reclaimed, released, …';
COMMENT ON COLUMN workflow_executions.claims IS 'How often an instance has taken it and not given it back; too often and it is parked as poisoned.';
COMMENT ON COLUMN workflow_executions.due_at IS 'When a waiting one goes on.';
CREATE INDEX executions_by_workflow ON workflow_executions (tenant_id, workflow_id, id);
COMMENT ON INDEX executions_by_workflow IS 'list_executions.sql by workflow';
CREATE INDEX executions_not_completed ON workflow_executions (tenant_id, status, id) WHERE status <> 'completed';
COMMENT ON INDEX executions_not_completed IS 'list_executions.sql by status; completed ones are found by id, they are most of all';
CREATE INDEX executions_by_subject ON workflow_executions (tenant_id, subject_kind, subject_id, id) WHERE subject_id IS NOT NULL;
COMMENT ON INDEX executions_by_subject IS 'executions of a client, agent …; its erasure';
CREATE INDEX executions_runnable ON workflow_executions (priority DESC, id) WHERE status = 'pending';
COMMENT ON INDEX executions_runnable IS 'claim_executions.sql: what waits for a free instance';
CREATE INDEX executions_due ON workflow_executions (due_at) WHERE status = 'waiting' AND due_at IS NOT NULL;
COMMENT ON INDEX executions_due IS 'claim_executions.sql: what waits for a time; next_due.sql';
CREATE INDEX executions_owned ON workflow_executions (instance_id) WHERE status = 'running';
COMMENT ON INDEX executions_owned IS 'reclaim_executions.sql, find_cancelled.sql: what an instance holds';

CREATE TABLE workflow_steps (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    path          text NOT NULL,
    seq           integer NOT NULL,
    verb          text NOT NULL,
    action_type   text,
    status        text NOT NULL CHECK (status IN
                      ('pending', 'running', 'waiting', 'retrying', 'completed', 'failed', 'skipped', 'cancelled')),
    attempt       integer NOT NULL DEFAULT 1 CHECK (attempt >= 0),
    input         jsonb,
    output        jsonb,
    error         jsonb,
    due_at        timestamptz,
    started_at    timestamptz,
    completed_at  timestamptz,
    PRIMARY KEY (tenant_id, execution_id, path)
) PARTITION BY RANGE (execution_id);
COMMENT ON TABLE workflow_steps IS 'Step executions. A row with an ended status is what makes a step never run again.';
COMMENT ON COLUMN workflow_steps.path IS 'The step''s id, led by the loop iterations it is in: each[3].mail.';
COMMENT ON COLUMN workflow_steps.seq IS 'Order in which the execution reached its steps, from 0.';
COMMENT ON COLUMN workflow_steps.due_at IS 'When a waiting or retrying step goes on.';

CREATE TABLE workflow_timeline (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    id            uuid NOT NULL,
    type          text NOT NULL,
    path          text,
    detail        jsonb,
    PRIMARY KEY (tenant_id, execution_id, id)
) PARTITION BY RANGE (execution_id);
COMMENT ON TABLE workflow_timeline IS
    'What the engine did that events, executions and steps do not say: retried, reclaimed, cancelled … The id carries the time.';

CREATE TABLE workflow_logs (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    id            uuid NOT NULL,
    path          text,
    level         text NOT NULL CHECK (level IN ('debug', 'info', 'warning', 'error', 'critical')),
    message       text NOT NULL,
    data          jsonb,
    PRIMARY KEY (tenant_id, execution_id, id)
) PARTITION BY RANGE (execution_id);
COMMENT ON TABLE workflow_logs IS 'What actions and users wrote. The id carries the time.';
CREATE INDEX logs_by_time ON workflow_logs (tenant_id, id);
COMMENT ON INDEX logs_by_time IS 'list_logs.sql over all executions, and its live tail';

-- ---------------------------------------------------------------------------------------------- partitions

CREATE FUNCTION create_history_partitions(until timestamptz DEFAULT now() + interval '3 weeks') RETURNS integer
    LANGUAGE plpgsql SET search_path = hark, pg_catalog AS $$
DECLARE
    history constant text[] := ARRAY['events', 'event_decisions', 'workflow_executions', 'workflow_steps',
                                     'workflow_timeline', 'workflow_logs'];
    parent text;
    week timestamptz;
    part text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7020852);
    FOREACH parent IN ARRAY history LOOP
        week := date_trunc('week', now(), 'UTC');
        IF to_regclass(format('hark.%I', parent || '_oldest')) IS NULL THEN
            EXECUTE format('CREATE TABLE hark.%I PARTITION OF hark.%I FOR VALUES FROM (MINVALUE) TO (%L)',
                           parent || '_oldest', parent, hark.id_floor(week));
            made := made + 1;
        END IF;
        WHILE week < until LOOP
            part := parent || '_' || to_char(week AT TIME ZONE 'UTC', 'IYYY"w"IW');
            IF to_regclass(format('hark.%I', part)) IS NULL THEN
                EXECUTE format('CREATE TABLE hark.%I PARTITION OF hark.%I FOR VALUES FROM (%L) TO (%L)%s',
                               part, parent, hark.id_floor(week), hark.id_floor(week + interval '7 days'),
                               CASE WHEN parent IN ('workflow_executions', 'workflow_steps')
                                    THEN ' WITH (fillfactor = 75)' ELSE '' END);
                made := made + 1;
            END IF;
            week := week + interval '7 days';
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION create_history_partitions IS
    'Makes the weekly partitions that are missing up to a moment; returns how many. The daemon calls it every hour.';
SELECT create_history_partitions();

-- ---------------------------------------------------------------------------------------------- deletion

CREATE FUNCTION erase_executions(tenant uuid, ids uuid[]) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog
BEGIN ATOMIC
    DELETE FROM workflow_steps WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_timeline WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_logs WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_executions WHERE tenant_id = tenant AND id = ANY (ids);
END;
COMMENT ON FUNCTION erase_executions IS 'Deletes executions with everything that belongs to them.';

CREATE FUNCTION erase_workflow_history() RETURNS trigger LANGUAGE plpgsql SET search_path = hark, pg_catalog AS $$
DECLARE
    batch uuid[];
BEGIN
    LOOP
        batch := ARRAY(SELECT id FROM workflow_executions
                       WHERE tenant_id = OLD.tenant_id AND workflow_id = OLD.id LIMIT 5000);
        EXIT WHEN batch = '{}';
        PERFORM erase_executions(OLD.tenant_id, batch);
    END LOOP;
    DELETE FROM event_decisions WHERE tenant_id = OLD.tenant_id AND workflow_id = OLD.id;
    RETURN OLD;
END $$;
CREATE TRIGGER workflows_erase_history BEFORE DELETE ON workflows
    FOR EACH ROW EXECUTE FUNCTION erase_workflow_history();

INSERT INTO schema_migrations (version, description) VALUES (1, 'first schema');

COMMIT;
