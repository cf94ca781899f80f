-- Hark's schema, whole. `psql -f schema.sql` on an empty database gives what `hark run` gives.
--
-- Rules that hold everywhere:
--   * every row belongs to a tenant, and tenant_id leads every key;
--   * ids are UUIDs in the layout of version 7 (RFC 9562): 48 bits of Unix time in milliseconds lead them;
--   * history (events, executions, steps, timeline, logs, decisions) is partitioned by the time in its leading id,
--     a step, a log line or a timeline entry by the id of its execution, so that all of an execution lies together;
--   * no foreign keys among history tables (they cost 15 times an insert and forbid dropping a partition): whoever
--     starts executions locks the parents FOR KEY SHARE in the same statement, and deleting a parent deletes history;
--   * states are CHECKed text or domains over it, no enum types: equality of enums is not leakproof, so row level
--     security would keep it from using an index;
--   * functions name pg_temp last in their search path: left out it is looked into first, and whoever calls them, or
--     causes it, could put a table of their own in the place of one of these.

BEGIN;

DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'this database has the encoding %, and Hark needs UTF8', current_setting('server_encoding')
            USING HINT = 'Make one with CREATE DATABASE hark TEMPLATE template0 ENCODING ''UTF8''.';
    END IF;
END $$;

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

-- Without a search_path of their own they are inlined: asked for every row, id_floor(id_time(id)) costs a tenth of a millisecond.
CREATE FUNCTION first_beside(id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (left(id::text, 13) || '-0000-0000-000000000000')::uuid;
COMMENT ON FUNCTION first_beside IS 'The smallest id of the same millisecond.';

CREATE FUNCTION last_beside(id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (left(id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid;
COMMENT ON FUNCTION last_beside IS 'The largest id of the same millisecond.';

-- ---------------------------------------------------------------------------------------------- housekeeping

CREATE TABLE schema_migrations (
    version      integer PRIMARY KEY CHECK (version > 0),
    description  text NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_migrations IS 'Which version the schema has; the highest one counts.';

CREATE TABLE registry (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation  bigint NOT NULL DEFAULT 1,
    removed_in  bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE registry IS
    'One row: how often the set of active workflows has changed. Every statement that stores events checks it, so that '
    'no event is matched against workflows that are no longer current.';
COMMENT ON COLUMN registry.removed_in IS 'The generation in which workflows were last deleted: they leave no row that could say so.';
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
    program       text NOT NULL DEFAULT '',
    backend_pids  integer[] NOT NULL DEFAULT '{}',
    state         text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'draining'))
);
COMMENT ON TABLE instances IS
    'The daemon processes that work on this database. A row is the licence to write: every write of an instance first '
    'locks it FOR KEY SHARE, and whoever takes over a dead instance''s work deletes it first.';
COMMENT ON COLUMN instances.heartbeat IS 'Counts up while the instance lives; others judge by its standing still, not by clocks.';
COMMENT ON COLUMN instances.host_boot IS 'Boot id and process namespace of the host: on the same one, a gone pid is a dead instance.';
COMMENT ON COLUMN instances.pid_started IS 'Start time of the process in clock ticks since boot, against reused pids.';
COMMENT ON COLUMN instances.program IS
    'A digest of what decides how it captures rows: where instances of different programs run, one of these keeps the triggers.';
COMMENT ON COLUMN instances.backend_pids IS 'Server processes of its connections, to be ended with it when it froze in a transaction.';

CREATE TABLE sealing_key (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    key_id    text NOT NULL CHECK (key_id ~ '^[0-9a-f]{16}$'),
    noted_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sealing_key IS
    'At most one row: with which key the secrets of executions are sealed. All instances need it; one that has another does '
    'not take any. The id is derived from the key and says nothing about it. A key that is lost for good: delete the row.';

-- ---------------------------------------------------------------------------------------------- who

CREATE TABLE tenants (
    id          uuid PRIMARY KEY,
    slug        text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,99}$'),
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    retention         interval CHECK (retention >= '1 day'),
    failed_retention  interval CHECK (failed_retention >= '1 day')
);
COMMENT ON TABLE tenants IS 'Owners of workflows, events, executions and secrets.';
COMMENT ON COLUMN tenants.retention IS 'How long its executions stay after their end; NULL: as the settings say.';
COMMENT ON COLUMN tenants.failed_retention IS
    'The same for those that failed or timed out; NULL: as the settings say. The longer of the two holds.';
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
    changed_in         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (slug, tenant_id),  -- led by the tenant, it would be taken for the primary key while there are no workflows
    CONSTRAINT active_is_published CHECK (status <> 'active' OR published_version IS NOT NULL),
    CONSTRAINT template_never_starts CHECK (NOT (is_template AND status = 'active'))
);
COMMENT ON TABLE workflows IS 'Named automations. What they do stands in workflow_versions.';
COMMENT ON COLUMN workflows.status IS 'draft: not published; active: its triggers may start it; archived: kept for its history.';
COMMENT ON COLUMN workflows.paused_at IS 'Since when its triggers are switched off; NULL when they are on.';
COMMENT ON COLUMN workflows.active_since IS 'When it was last switched on (published first, or resumed): no slot from before is made up for.';
COMMENT ON COLUMN workflows.changed_in IS 'The generation of the registry that brought this row as it is.';
CREATE INDEX workflows_by_change ON workflows (changed_in);
COMMENT ON INDEX workflows_by_change IS 'list_changed_workflows.sql';
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
    retention         interval,
    failed_retention  interval,
    kept_count        integer,
    PRIMARY KEY (tenant_id, workflow_id, version),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_versions IS 'Immutable numbered definitions, in normalised form.';
COMMENT ON COLUMN workflow_versions.retention IS
    'What the definition says about retention, taken out of it by a trigger, as are the next two; NULL: nothing. That of the '
    'published version holds for all executions of the workflow.';
CREATE INDEX versions_with_retention ON workflow_versions (tenant_id, workflow_id, version)
    WHERE retention IS NOT NULL OR failed_retention IS NOT NULL OR kept_count IS NOT NULL;
COMMENT ON INDEX versions_with_retention IS 'own_retention: the few that have a policy of their own';
ALTER TABLE workflows ADD CONSTRAINT published_version_exists
    FOREIGN KEY (tenant_id, id, published_version) REFERENCES workflow_versions (tenant_id, workflow_id, version)
    DEFERRABLE INITIALLY DEFERRED;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'a row of % never changes', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON workflow_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION read_retention() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.retention := (NEW.definition #>> '{retention,for}')::interval;
    NEW.failed_retention := (NEW.definition #>> '{retention,failed}')::interval;
    NEW.kept_count := (NEW.definition #>> '{retention,count}')::integer;
    RETURN NEW;
END $$;
CREATE TRIGGER versions_read_retention BEFORE INSERT ON workflow_versions
    FOR EACH ROW WHEN (NEW.definition ? 'retention') EXECUTE FUNCTION read_retention();

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
COMMENT ON INDEX workflow_triggers_by_route IS 'which workflows an event can start: doctor_look_up_workflows.sql, and whoever asks with SQL';

CREATE FUNCTION announce_workflows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    UPDATE registry
    SET generation = generation + 1, removed_in = CASE TG_OP WHEN 'DELETE' THEN generation + 1 ELSE removed_in END;
    PERFORM pg_notify('hark_registry', '');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION announce_workflows IS 'Tells all instances that the set of active workflows may have changed, whoever changed it.';
-- Before, not after: whoever changes workflows holds the registry's row from here to the end of the transaction, so that
-- what the rows are stamped with comes into sight in the order of the stamps.
CREATE TRIGGER workflows_announce BEFORE INSERT OR UPDATE OR DELETE ON workflows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_workflows();

CREATE FUNCTION stamp_workflow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    NEW.changed_in := (SELECT generation FROM registry);
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION stamp_workflow IS 'Says in each row when it changed, for people and for those who follow.';
CREATE TRIGGER workflows_stamp BEFORE INSERT OR UPDATE ON workflows FOR EACH ROW EXECUTE FUNCTION stamp_workflow();

CREATE TABLE workflow_activations (
    tenant_id    uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    since        timestamptz NOT NULL,
    state        text NOT NULL CHECK (state IN ('draft', 'active', 'paused', 'archived')),
    version      integer,
    PRIMARY KEY (tenant_id, workflow_id, since),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_activations IS
    'From when on each workflow was in which state, and with which published version: what a stored event was offered to. '
    'What is older than every event goes with retention (prune_activations.sql).';
CREATE INDEX workflow_activations_by_time ON workflow_activations (tenant_id, since);
COMMENT ON INDEX workflow_activations_by_time IS 'list_activations.sql: what has changed since an event';

CREATE FUNCTION note_activation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO workflow_activations AS a (tenant_id, workflow_id, since, state, version)
    VALUES (NEW.tenant_id, NEW.id, clock_timestamp(),
            CASE WHEN NEW.status = 'active' AND NEW.paused_at IS NOT NULL THEN 'paused' ELSE NEW.status END, NEW.published_version)
    ON CONFLICT (tenant_id, workflow_id, since) DO UPDATE SET state = excluded.state, version = excluded.version;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION note_activation IS 'Keeps what a workflow was at any time, whoever changes it.';
CREATE TRIGGER workflows_note_creation AFTER INSERT ON workflows FOR EACH ROW EXECUTE FUNCTION note_activation();
CREATE TRIGGER workflows_note_activation AFTER UPDATE ON workflows
    FOR EACH ROW WHEN ((OLD.status, OLD.paused_at, OLD.published_version)
                       IS DISTINCT FROM (NEW.status, NEW.paused_at, NEW.published_version))
    EXECUTE FUNCTION note_activation();
-- These run with the rights of their owner, whoever changes workflows: nobody else may put them on a table.
REVOKE ALL ON FUNCTION announce_workflows, stamp_workflow, note_activation FROM PUBLIC;

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
    passed_over   integer,
    also_caused_by  uuid[],
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT subject_is_whole CHECK ((subject_kind IS NULL) = (subject_id IS NULL))
) PARTITION BY RANGE (id);
COMMENT ON TABLE events IS 'Everything that happened, matched or not. The id carries the time at which it was stored, by the database''s clock.';
COMMENT ON COLUMN events.subject_kind IS 'What it is about: as its sender says, else as the first trigger that names something.';
COMMENT ON COLUMN events.kind IS 'The trigger kind it came by: row, notify, cron, webhook, event, manual.';
COMMENT ON COLUMN events.depth IS 'How many executions stand between this event and the outside world; loops end at a limit.';
COMMENT ON COLUMN events.caused_by IS 'The execution that published it, or whose end it is.';
COMMENT ON COLUMN events.also_caused_by IS
    'Of an event that several ends have made (triggers with `all`): the other executions. It holds what each has put out.';
COMMENT ON COLUMN events.passed_over IS 'How many triggers on its route did not start their workflows and have no row in event_decisions; NULL for none.';
COMMENT ON COLUMN events.matched IS 'Whether anything that it started is there; an event without has a short life of its own.';
-- Not led by the tenant, for the same reason as executions_by_workflow.
CREATE INDEX events_by_route ON events (route, tenant_id, id);
COMMENT ON INDEX events_by_route IS 'list_events.sql by type; stored events for a wait or a dry run';
CREATE INDEX events_unmatched ON events (id) WHERE NOT matched;
COMMENT ON INDEX events_unmatched IS 'prune_unmatched_events.sql';
CREATE INDEX events_by_subject ON events (tenant_id, subject_kind, subject_id, id) WHERE subject_id IS NOT NULL;
COMMENT ON INDEX events_by_subject IS 'list_events_of_subject.sql: what is about a client, agent …, whether it started anything or not';
CREATE INDEX events_by_cause ON events (tenant_id, caused_by) WHERE caused_by IS NOT NULL;
COMMENT ON INDEX events_by_cause IS 'reach_further: what executions that are to be erased have published';
CREATE INDEX events_by_further_cause ON events USING gin (also_caused_by) WITH (fastupdate = off)
    WHERE also_caused_by IS NOT NULL;
COMMENT ON INDEX events_by_further_cause IS 'reach_further: what the ends of executions that are to be erased have made with others';

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

CREATE TABLE hook_refusals (
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    path       text NOT NULL,
    status     smallint NOT NULL,
    count      bigint NOT NULL,
    first_at   timestamptz NOT NULL DEFAULT now(),
    last_at    timestamptz NOT NULL DEFAULT now(),
    detail     text NOT NULL,
    method     text NOT NULL,
    client     text NOT NULL,
    PRIMARY KEY (tenant_id, path, status)
);
COMMENT ON TABLE hook_refusals IS
    'Webhooks that were refused within the last day, counted by path and status; of each the last one in full. Nothing of it '
    'is proven. Written by every instance every few seconds, and bounded.';
COMMENT ON COLUMN hook_refusals.path IS 'As its trigger writes it; where no trigger listens, as it was asked for.';

CREATE TABLE hook_tests (
    tenant_id   uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    path        text NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, path)
);
COMMENT ON TABLE hook_tests IS 'Paths under /hooks-test/ that show for a while what arrives there, and start nothing.';

CREATE TABLE hook_arrivals (
    tenant_id  uuid NOT NULL,
    path       text NOT NULL,
    id         uuid NOT NULL,
    data       jsonb NOT NULL,
    PRIMARY KEY (tenant_id, path, id),
    FOREIGN KEY (tenant_id, path) REFERENCES hook_tests (tenant_id, path) ON DELETE CASCADE
);
COMMENT ON TABLE hook_arrivals IS 'What has arrived there; goes with the test.';

CREATE TABLE event_decisions (
    tenant_id    uuid NOT NULL,
    event_id     uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    trigger_id   text NOT NULL,
    reason       text NOT NULL,
    detail       text,
    PRIMARY KEY (tenant_id, event_id, workflow_id, trigger_id)
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE event_decisions IS
    'Why a workflow that an event was offered to did not start, as it was seen then: all that limits refused, and a sample of '
    'what conditions refused. Whatever is not here is computed when somebody asks. What did start has an execution instead.';
-- Few rows: the sample is bounded in time, not only by event.
CREATE INDEX event_decisions_by_event ON event_decisions (event_id) WHERE reason <> 'batched';
COMMENT ON INDEX event_decisions_by_event IS 'prune_decisions.sql';
COMMENT ON COLUMN event_decisions.reason IS 'not_concerned, when_false, condition_false, expression_error, inputs_invalid, depth_limit, expression_error, '
    'overlap, rate_limited, idempotent, batched (detail: the execution that it joined) …';

-- ---------------------------------------------------------------------------------------------- executions

-- PostgreSQL reads every CHECK and every WHEN of a table anew from its text for each statement that writes to it, lists of
-- values slowest; what a domain asks for a session reads once. On the tables of history most statements write a row or two.
CREATE DOMAIN execution_status AS text CHECK (VALUE IN
    ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'timeout', 'skipped'));
CREATE DOMAIN execution_mode AS text CHECK (VALUE IN ('production', 'test', 'dry_run'));
CREATE DOMAIN step_status AS text CHECK (VALUE IN
    ('pending', 'running', 'waiting', 'retrying', 'completed', 'failed', 'skipped', 'cancelled'));

CREATE TABLE workflow_executions (
    tenant_id            uuid NOT NULL,
    id                   uuid NOT NULL,
    workflow_id          uuid NOT NULL,
    version              integer NOT NULL,
    event_id             uuid NOT NULL,
    ordinal              integer NOT NULL DEFAULT 0 CHECK (ordinal >= 0),
    trigger_id           text,
    trigger_type         text NOT NULL,
    status               execution_status NOT NULL,
    pending_reason       text,
    mode                 execution_mode NOT NULL DEFAULT 'production',
    priority             smallint NOT NULL DEFAULT 0,
    limits               jsonb,
    gate                 smallint NOT NULL DEFAULT 0,
    lanes                uuid[],
    held                 smallint NOT NULL DEFAULT 0,
    queued               boolean NOT NULL DEFAULT false,
    instance_id          uuid,
    claims               smallint NOT NULL DEFAULT 0,
    due_at               timestamptz,
    woken                boolean NOT NULL DEFAULT false,
    deadline_at          timestamptz,
    cancel_requested_at  timestamptz,
    depth                smallint NOT NULL DEFAULT 0,
    origin_id            uuid,
    parent_id            uuid,
    parent_path          text,
    part                 jsonb,
    subject_kind         text,
    subject_id           text,
    inputs               jsonb,
    variables            jsonb,
    sealed               bytea,
    output               jsonb,
    error                jsonb,
    metadata             jsonb,
    started_at           timestamptz,
    completed_at         timestamptz,
    kept_until           timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT open_has_no_end CHECK ((status IN ('pending', 'running', 'waiting')) = (completed_at IS NULL)),
    CONSTRAINT running_has_owner CHECK ((status = 'running') = (instance_id IS NOT NULL)),
    CONSTRAINT failed_says_why CHECK (status <> 'failed' OR error IS NOT NULL),
    CONSTRAINT part_has_a_whole CHECK (part IS NULL OR (parent_id IS NOT NULL AND parent_path IS NOT NULL))
) PARTITION BY RANGE (id);
COMMENT ON TABLE workflow_executions IS
    'Runs of workflow versions. The id is derived from (workflow, event, ordinal), so the primary key is what makes one '
    'event start a workflow once; it carries the event''s time.';
COMMENT ON COLUMN workflow_executions.ordinal IS '0 for the start; every retry or replay of the same event takes the next one and names its origin.';
COMMENT ON COLUMN workflow_executions.pending_reason IS 'Why it has not started or has to start again: queued, reclaimed, released, …';
COMMENT ON COLUMN workflow_executions.claims IS 'How often an instance has taken it and not given it back; too often and it is parked as poisoned.';
COMMENT ON COLUMN workflow_executions.due_at IS 'When a waiting one goes on, or a pending one that was put off may start.';
COMMENT ON COLUMN workflow_executions.limits IS
    'The limits of its workflow with their keys evaluated, as pass_gates reads them; NULL for most, which costs nothing.';
COMMENT ON COLUMN workflow_executions.gate IS 'How many gates it has passed: 1 the door, 2 collecting, 3 throttle; then come the lanes.';
COMMENT ON COLUMN workflow_executions.lanes IS 'The lanes in which it needs a slot, in the order in which it takes them.';
COMMENT ON COLUMN workflow_executions.held IS 'In how many of them it has one; kept until it has ended.';
COMMENT ON COLUMN workflow_executions.queued IS 'While it is pending: whether it waits for a slot in lanes[held + 1].';
COMMENT ON COLUMN workflow_executions.woken IS 'There is news that it has not looked for yet; see wake_executions. A claim clears it.';
COMMENT ON COLUMN workflow_executions.parent_id IS 'The execution that waits for this one: it called it, or this is a part of it.';
COMMENT ON COLUMN workflow_executions.parent_path IS 'The step of the parent that made it.';
COMMENT ON COLUMN workflow_executions.kept_until IS 'No policy lets it go before: it was restored from the archive. NULL for nearly all.';
COMMENT ON COLUMN workflow_executions.part IS
    'Of a part of a distributed step: {step, path, key, whole, iterations, names, vars}. A part runs one item or branch and '
    'nothing else; iterations says in which executions the loops around it run.';
COMMENT ON COLUMN workflow_executions.variables IS 'The vars that it was started with; NULL for none.';
COMMENT ON COLUMN workflow_executions.sealed IS
    'Secrets that it was handed, NULL for most: format (1 byte), id of the key (8), nonce (12), length (4) of their names and '
    'the names as JSON, AES-256-GCM of a JSON object, bound to the names and to tenant and id of this row. Elsewhere they are '
    'nowhere.';
-- Not led by the tenant: PostgreSQL 18 would otherwise take it for the primary key while a partition is empty (skip scan).
CREATE INDEX executions_by_workflow ON workflow_executions (workflow_id, id);
COMMENT ON INDEX executions_by_workflow IS 'list_executions.sql by workflow; retention_walks, list_ended_of_workflow.sql';
CREATE INDEX executions_not_completed ON workflow_executions (tenant_id, status, id) WHERE status <> 'completed';
COMMENT ON INDEX executions_not_completed IS 'list_executions.sql by status; completed ones are found by id, they are most of all';
CREATE INDEX executions_by_subject ON workflow_executions (tenant_id, subject_kind, subject_id, id) WHERE subject_id IS NOT NULL;
COMMENT ON INDEX executions_by_subject IS 'list_executions_of_subject.sql: executions about a client, agent …';
CREATE INDEX executions_runnable ON workflow_executions (tenant_id, priority DESC, id)
    WHERE status = 'pending' AND due_at IS NULL AND NOT queued;
COMMENT ON INDEX executions_runnable IS 'claim_executions.sql: what waits for a free instance, by tenant so that each gets its turn';
CREATE INDEX executions_due ON workflow_executions (due_at) WHERE status = 'waiting' AND due_at IS NOT NULL;
COMMENT ON INDEX executions_due IS 'claim_executions.sql: what waits for a time; next_due.sql';
CREATE INDEX executions_put_off ON workflow_executions (due_at, id) WHERE status = 'pending' AND due_at IS NOT NULL;
COMMENT ON INDEX executions_put_off IS 'pass_due: what was throttled, debounced or batched; next_due.sql';
CREATE INDEX executions_queued ON workflow_executions ((lanes[held + 1]), priority DESC, id) WHERE queued AND status = 'pending';
COMMENT ON INDEX executions_queued IS 'admit_next: who is next in a lane; get_hold.sql';
CREATE INDEX executions_owned ON workflow_executions (instance_id) WHERE status = 'running';
COMMENT ON INDEX executions_owned IS 'reclaim_executions.sql, find_cancelled.sql, find_woken.sql: what an instance holds';
CREATE INDEX executions_by_parent ON workflow_executions (tenant_id, parent_id, id) WHERE parent_id IS NOT NULL;
COMMENT ON INDEX executions_by_parent IS 'cancel_children, choose_past, reach_further: what an execution has called and its parts';
CREATE INDEX executions_sealed ON workflow_executions (substring(sealed FROM 2 FOR 8))
    WHERE sealed IS NOT NULL AND completed_at IS NULL;
COMMENT ON INDEX executions_sealed IS 'doctor_list_sealed.sql: with which keys the secrets of open executions are sealed';


CREATE TABLE workflow_steps (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    path          text COLLATE "C" NOT NULL,
    seq           integer NOT NULL,
    verb          text NOT NULL,
    action_type   text,
    status        step_status NOT NULL,
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
COMMENT ON COLUMN workflow_steps.path IS
    'The step''s id, led by the loop iterations it is in: each[3].mail. In the order of bytes all of a turn stands together: '
    'see remove_folded.';
COMMENT ON COLUMN workflow_steps.verb IS
    'That of the step; iteration for a turn of a while, part for one of a distributed step, fold for turns that are folded '
    'away: each[0-99], output {turns, completed, failed}, input what the execution still needs of them.';
COMMENT ON COLUMN workflow_steps.seq IS 'Order in which the execution reached its steps, from 0.';
COMMENT ON COLUMN workflow_steps.due_at IS 'When a waiting or retrying step goes on.';

-- ---------------------------------------------------------------------------------------------- states

CREATE FUNCTION keep_execution_states() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT (CASE OLD.status
        WHEN 'pending' THEN NEW.status IN ('running', 'cancelled', 'skipped', 'timeout')
        WHEN 'running' THEN true
        WHEN 'waiting' THEN NEW.status IN ('running', 'cancelled', 'timeout')
        ELSE false END) THEN
        RAISE EXCEPTION 'a row of workflow_executions that is % never becomes %', OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION keep_execution_states IS
    'Whatever asks for it, what has ended stays as it is. The tables are those of workflows/states.py; a test compares them.';
-- The commonest change calls no function: what runs becomes everything.
CREATE TRIGGER executions_keep_to_their_states BEFORE UPDATE OF status ON workflow_executions
    FOR EACH ROW WHEN (OLD.status <> NEW.status AND OLD.status <> 'running') EXECUTE FUNCTION keep_execution_states();

CREATE FUNCTION keep_step_states() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT (CASE OLD.status
        WHEN 'pending' THEN true
        WHEN 'running' THEN NEW.status NOT IN ('pending', 'skipped')
        WHEN 'waiting' THEN NEW.status <> 'pending'
        WHEN 'retrying' THEN NEW.status NOT IN ('pending', 'skipped')
        ELSE false END) THEN
        RAISE EXCEPTION 'a row of workflow_steps that is % never becomes %', OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION keep_step_states IS 'As keep_execution_states, for steps.';
CREATE TRIGGER steps_keep_to_their_states BEFORE UPDATE OF status ON workflow_steps
    FOR EACH ROW WHEN (OLD.status <> NEW.status
                       AND (OLD.status <> 'running' OR NEW.status = 'pending' OR NEW.status = 'skipped'))
    EXECUTE FUNCTION keep_step_states();

CREATE TABLE event_waits (
    tenant_id      uuid NOT NULL,
    execution_id   uuid NOT NULL,
    path           text NOT NULL,
    route          text NOT NULL,
    key_path       text[] NOT NULL,
    key            text NOT NULL,
    scanned_until  timestamptz,
    PRIMARY KEY (tenant_id, execution_id, path)
);
COMMENT ON TABLE event_waits IS
    'Steps that wait for an event. Written with the step''s record as waiting, gone when the step or its execution has '
    'ended. Not partitioned: it holds only what is open.';
COMMENT ON COLUMN event_waits.key_path IS 'Where in the data of an event its key stands; empty: any event of the route will do.';
COMMENT ON COLUMN event_waits.key IS 'What has to stand there, so that an event wakes only those that it may concern.';
COMMENT ON COLUMN event_waits.scanned_until IS 'Up to when stored events were looked through.';
CREATE INDEX event_waits_by_key ON event_waits (tenant_id, route, key_path, key);
COMMENT ON INDEX event_waits_by_key IS 'wake_waits: who waits for an event';

CREATE TABLE event_hits (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    path          text NOT NULL,
    event_id      uuid NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, path, event_id)
);
COMMENT ON TABLE event_hits IS
    'Events that have the key of a wait: what a step that was woken looks at first. Without them each would go through all '
    'events of the last minute. No foreign key: it would lock the wait against the step that ends it.';

CREATE TABLE wait_shapes (
    tenant_id  uuid NOT NULL,
    route      text NOT NULL,
    key_path   text[] NOT NULL,
    used_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, route, key_path)
);
COMMENT ON TABLE wait_shapes IS
    'By which keys events of a route are waited for: what of an event has to be read to find who waits for it. Few rows; one '
    'stays for a day after its last use.';

CREATE FUNCTION wait_key(data jsonb, key_path text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE  -- without a search_path of its own it is inlined
    RETURN CASE WHEN key_path = '{}' THEN ''
                WHEN jsonb_typeof(data #> key_path) = 'number' THEN trim_scale((data #>> key_path)::numeric)::text
                ELSE data #>> key_path END;
COMMENT ON FUNCTION wait_key IS 'The key of an event: what stands at a place in its data, as text; 5 and 5.0 are the same.';

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

CREATE TABLE waits (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    path          text COLLATE "C" NOT NULL,
    id            uuid NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('approval')),
    opened_at     timestamptz NOT NULL DEFAULT now(),
    until         timestamptz,
    detail        jsonb NOT NULL,
    token_digest  bytea,
    answer        jsonb,
    answered_at   timestamptz,
    answered_by   text,
    closed_at     timestamptz,
    PRIMARY KEY (tenant_id, execution_id, path),
    CONSTRAINT answered_whole CHECK ((answer IS NULL) = (answered_at IS NULL) AND (answer IS NULL) = (answered_by IS NULL)),
    CONSTRAINT answered_or_closed CHECK (answered_at IS NULL OR closed_at IS NULL)
) PARTITION BY RANGE (execution_id);
COMMENT ON TABLE waits IS
    'What steps wait for that comes from outside, and the answer when it has come. A step looks for it on every walk.';
COMMENT ON COLUMN waits.id IS 'Time-ordered: what pages of waits are cut by.';
COMMENT ON COLUMN waits.kind IS 'approval: people are asked; detail is {message, approvers, form}, answer {approved, by, via, comment, form}.';
COMMENT ON COLUMN waits.token_digest IS 'SHA-256 of the token in the link that answers it; the token itself is nowhere.';
COMMENT ON COLUMN waits.closed_at IS 'It takes no answer from then on: its time ran out.';
CREATE INDEX waits_for_people ON waits (tenant_id, id) WHERE kind = 'approval' AND answered_at IS NULL AND closed_at IS NULL;
COMMENT ON INDEX waits_for_people IS 'list_approvals.sql';
CREATE INDEX waits_by_token ON waits (token_digest) WHERE token_digest IS NOT NULL;
COMMENT ON INDEX waits_by_token IS 'find_approval.sql';

CREATE FUNCTION takes_answer(answered_at timestamptz, closed_at timestamptz, until timestamptz) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE  -- without a search_path of its own it is inlined, and waits_for_people serves it
    RETURN answered_at IS NULL AND closed_at IS NULL AND coalesce(until > now(), true);
COMMENT ON FUNCTION takes_answer IS 'Whether a question, taken by itself, is still open; see the view approvals.';

CREATE VIEW approvals WITH (security_invoker = true) AS
    SELECT w.tenant_id, w.id, w.execution_id, a.workflow_id, a.workflow, a.workflow_name, w.path, w.detail, w.opened_at,
           w.until, w.answer, w.answered_at, w.token_digest, a.status, a.step_status,
           takes_answer(w.answered_at, w.closed_at, w.until) AND a.completed_at IS NULL AND a.step_status = 'waiting'
               AS is_open
    FROM waits AS w
    CROSS JOIN LATERAL (
        SELECT e.workflow_id, k.slug AS workflow, k.name AS workflow_name, e.status, e.completed_at,
               s.status AS step_status
        FROM workflow_executions AS e
        JOIN workflows AS k ON k.tenant_id = e.tenant_id AND k.id = e.workflow_id
        JOIN workflow_steps AS s ON s.tenant_id = e.tenant_id AND s.execution_id = e.id AND s.path = w.path
        WHERE e.tenant_id = w.tenant_id AND e.id = w.execution_id
        OFFSET 0  -- keeps it a look at one wait after the other, until whoever asks has enough
    ) AS a
    WHERE w.kind = 'approval';
COMMENT ON VIEW approvals IS
    'Questions to people, and whether they take an answer now: it has none yet and its time is not over, and neither its step '
    '(a race was won by another branch) nor its execution has ended.';

CREATE FUNCTION wake_executions(tenant uuid, ids uuid[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    one uuid;
BEGIN
    -- Always touched: a suspension that is on its way waits for this row, sees `woken` and is due at once. Locked in one
    -- order, for several may wake the same ones.
    FOR one IN
        SELECT e.id FROM workflow_executions AS e
        WHERE e.tenant_id = tenant AND e.id = ANY (ids) AND e.completed_at IS NULL
        ORDER BY e.id
        FOR NO KEY UPDATE
    LOOP
        UPDATE workflow_executions AS e
        SET woken = true, due_at = CASE WHEN e.status = 'waiting' THEN now() ELSE e.due_at END
        WHERE e.tenant_id = tenant AND e.id = one;
        PERFORM pg_notify('hark_wake', one::text);
    END LOOP;
END $$;
COMMENT ON FUNCTION wake_executions IS
    'Tells executions that there is news for them: a waiting one goes on at once, a running one looks before it waits.';

CREATE TABLE workflow_context (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    key           text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 200),
    value         jsonb NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    updated_by    text NOT NULL DEFAULT CURRENT_USER,
    PRIMARY KEY (tenant_id, execution_id, key)
) PARTITION BY RANGE (execution_id);
COMMENT ON TABLE workflow_context IS
    'What executions remember: written by their `remember` steps and, while they run, over the API and with SQL. An '
    'execution reads it anew before every step whose expressions name `context`.';
COMMENT ON COLUMN workflow_context.updated_by IS 'step:PATH, key:NAME for the API, or the database role.';

CREATE FUNCTION set_workflow_context(execution uuid, key text, value jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    it record;
BEGIN
    -- FOR SHARE: it cannot end while this is being written.
    SELECT e.tenant_id, e.status, e.completed_at INTO it FROM workflow_executions AS e WHERE e.id = execution FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no execution %', execution USING ERRCODE = 'no_data_found';
    ELSIF it.completed_at IS NOT NULL THEN
        RAISE EXCEPTION 'execution % has already ended: %; its context stays as it is', execution, it.status
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF octet_length(value::text) > 262144 THEN
        RAISE EXCEPTION 'the value has % bytes, more than the 262144 that a context keeps', octet_length(value::text)
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    INSERT INTO workflow_context AS c (tenant_id, execution_id, key, value, updated_by)
    VALUES (it.tenant_id, execution, set_workflow_context.key, coalesce(set_workflow_context.value, 'null'), session_user)
    ON CONFLICT ON CONSTRAINT workflow_context_pkey DO UPDATE
        SET value = excluded.value, updated_at = excluded.updated_at, updated_by = excluded.updated_by;
END $$;
COMMENT ON FUNCTION set_workflow_context IS
    'For everybody who uses SQL: sets a key of what an execution remembers, as long as it has not ended.';

CREATE FUNCTION get_workflow_context(execution uuid, only_key text DEFAULT NULL)
    RETURNS TABLE (key text, value jsonb, updated_at timestamptz, updated_by text)
    LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.key, c.value, c.updated_at, c.updated_by
    FROM workflow_context AS c
    WHERE c.execution_id = execution AND (only_key IS NULL OR c.key = only_key)
    ORDER BY c.key;
END;
COMMENT ON FUNCTION get_workflow_context IS
    'For everybody who uses SQL: what an execution remembers, all of it or one key, and who wrote it.';

CREATE FUNCTION step_has_completed(tenant uuid, execution uuid, step_path text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
RETURN EXISTS (SELECT FROM workflow_steps AS s WHERE s.tenant_id = tenant AND s.execution_id = execution
               AND s.path = step_path AND s.status = 'completed');
COMMENT ON FUNCTION step_has_completed IS
    'Whether a step is on record as completed. A flush that is written again, because the answer to its COMMIT was lost, '
    'asks before it repeats what others may have changed since.';

-- ---------------------------------------------------------------------------------------------- parents and children

CREATE FUNCTION cancel_children(tenant uuid, parent uuid, paths text[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    one record;
BEGIN
    -- Theirs are later events, or they are parts and lie in the same moment: none is in an older partition.
    FOR one IN
        UPDATE workflow_executions AS e
        SET cancel_requested_at = now(),
            status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
            completed_at = CASE WHEN e.status = 'running' THEN NULL ELSE now() END,
            due_at = CASE WHEN e.status = 'running' THEN e.due_at END,
            pending_reason = NULL,
            error = CASE WHEN e.status = 'running' THEN e.error ELSE
                jsonb_build_object('class', 'cancelled', 'message', 'the execution that waited for it has ended') END
        WHERE e.tenant_id = tenant AND e.parent_id = parent AND e.id >= id_floor(id_time(parent))
          AND e.completed_at IS NULL AND e.cancel_requested_at IS NULL
          AND (paths IS NULL OR e.parent_path = ANY (paths))
        RETURNING e.id, e.status
    LOOP
        IF one.status = 'running' THEN
            PERFORM pg_notify('hark_cancel', one.id::text);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION cancel_children IS
    'Cancels the open executions that an execution waits for: all, or those of some of its steps. What runs is told.';

CREATE FUNCTION leave_nothing_open(tenant uuid, execution uuid) RETURNS void LANGUAGE plpgsql
    SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    PERFORM cancel_children(tenant, execution);
    UPDATE workflow_steps AS s
    SET status = 'cancelled', due_at = NULL, completed_at = now()
    WHERE s.tenant_id = tenant AND s.execution_id = execution AND s.status IN ('pending', 'running', 'waiting', 'retrying');
    DELETE FROM event_waits AS w WHERE w.tenant_id = tenant AND w.execution_id = execution;
    DELETE FROM event_hits AS h WHERE h.tenant_id = tenant AND h.execution_id = execution;
END $$;
COMMENT ON FUNCTION leave_nothing_open IS
    'Ends what an execution that did not complete has left: one that completes has waited for all of it, and its steps have '
    'cleared up behind them.';

-- ---------------------------------------------------------------------------------------------- after another workflow

CREATE TABLE followed_workflows (
    tenant_id    uuid NOT NULL,
    followed     text NOT NULL,
    workflow_id  uuid NOT NULL,
    trigger_id   text NOT NULL,
    PRIMARY KEY (tenant_id, followed, workflow_id, trigger_id),
    FOREIGN KEY (tenant_id, workflow_id, trigger_id)
        REFERENCES workflow_triggers (tenant_id, workflow_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE followed_workflows IS
    'Which published workflows start after executions of which others (triggers of type workflow): `followed` is a slug.';
CREATE INDEX followed_workflows_by_trigger ON followed_workflows (tenant_id, workflow_id, trigger_id);
COMMENT ON INDEX followed_workflows_by_trigger IS 'delete_triggers.sql: the foreign key';

CREATE TABLE execution_ends (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    workflow_id   uuid,
    trigger_id    text,
    noted_at      timestamptz NOT NULL DEFAULT now(),
    parked_at     timestamptz,
    problem       text,
    CONSTRAINT trigger_is_whole CHECK ((workflow_id IS NULL) = (trigger_id IS NULL))
);
COMMENT ON TABLE execution_ends IS
    'Ends of executions that others follow, written in the transaction that ends them; an instance makes each into an event '
    'and takes it out in one transaction. Empty nearly always.';
COMMENT ON COLUMN execution_ends.workflow_id IS
    'With trigger_id the one trigger that the end still has to be counted for; NULL: nobody has heard of it yet.';
COMMENT ON COLUMN execution_ends.parked_at IS 'Since when it is put aside, because it cannot be made into an event; `problem` says why.';
CREATE INDEX execution_ends_parked ON execution_ends (id) WHERE parked_at IS NOT NULL;
COMMENT ON INDEX execution_ends_parked IS 'count_held_back.sql, doctor_get_ends.sql';

CREATE TABLE workflow_joins (
    tenant_id    uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    trigger_id   text NOT NULL,
    key          bytea NOT NULL CHECK (octet_length(key) = 32),
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id, trigger_id, key),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_joins IS
    'Triggers that wait for the ends of several workflows (`all`), by key. Whoever changes which ends are there has the row locked.';
COMMENT ON COLUMN workflow_joins.key IS
    'SHA-256 of what `key` gave: that comes from outside, may be of any length, and is about somebody.';
CREATE INDEX workflow_joins_by_expiry ON workflow_joins (expires_at);
COMMENT ON INDEX workflow_joins_by_expiry IS 'prune_joins.sql';

CREATE TABLE workflow_join_ends (
    tenant_id     uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    trigger_id    text NOT NULL,
    key           bytea NOT NULL,
    followed      text NOT NULL,
    execution_id  uuid NOT NULL,
    ended_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id, trigger_id, key, followed),
    FOREIGN KEY (tenant_id, workflow_id, trigger_id, key)
        REFERENCES workflow_joins (tenant_id, workflow_id, trigger_id, key) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_join_ends IS 'The ends that have come of a key: of each workflow (`followed`, a slug) the latest.';
-- Not led by the tenant: while there are no statistics it would be taken for the primary key.
CREATE INDEX workflow_join_ends_by_execution ON workflow_join_ends (execution_id);
COMMENT ON INDEX workflow_join_ends_by_execution IS 'forget_joined';

CREATE FUNCTION note_ends(tenants uuid[], ids uuid[], workflows uuid[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO execution_ends (tenant_id, execution_id)
    SELECT u.tenant_id, u.id
    FROM unnest(tenants, ids, workflows) AS u (tenant_id, id, workflow_id)
    WHERE EXISTS (SELECT FROM workflows AS w
                  JOIN followed_workflows AS f ON f.tenant_id = w.tenant_id AND f.followed = w.slug
                  WHERE w.tenant_id = u.tenant_id AND w.id = u.workflow_id);
    IF FOUND THEN
        PERFORM pg_notify('hark_ends', '');
    END IF;
END $$;
COMMENT ON FUNCTION note_ends IS
    'Notes the ends of executions for the workflows that start after theirs; part of the transaction that ends them.';

CREATE FUNCTION join_end(
    tenant uuid, workflow uuid, trigger text, join_key bytea, wanted text[], slug text, execution uuid, at timestamptz,
    within interval
) RETURNS TABLE (followed text, execution_id uuid) LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    -- Planned while nothing has come yet, it has to be good when a million keys wait.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    newest timestamptz;
BEGIN
    -- The row is locked from here on: of two ends at one moment the second one sees the first.
    INSERT INTO workflow_joins AS j (tenant_id, workflow_id, trigger_id, key, expires_at)
    VALUES (tenant, workflow, trigger, join_key, at + within)
    ON CONFLICT (tenant_id, workflow_id, trigger_id, key)
        DO UPDATE SET expires_at = greatest(j.expires_at, excluded.expires_at);
    INSERT INTO workflow_join_ends AS o (tenant_id, workflow_id, trigger_id, key, followed, execution_id, ended_at)
    VALUES (tenant, workflow, trigger, join_key, slug, execution, at)
    ON CONFLICT (tenant_id, workflow_id, trigger_id, key, followed)
        DO UPDATE SET execution_id = excluded.execution_id, ended_at = excluded.ended_at WHERE o.ended_at <= excluded.ended_at;
    newest := (SELECT max(o.ended_at) FROM workflow_join_ends AS o
               WHERE o.tenant_id = tenant AND o.workflow_id = workflow AND o.trigger_id = trigger AND o.key = join_key);
    DELETE FROM workflow_join_ends AS o
    WHERE o.tenant_id = tenant AND o.workflow_id = workflow AND o.trigger_id = trigger AND o.key = join_key
      AND (o.followed <> ALL (wanted) OR o.ended_at < newest - within);
    IF (SELECT count(*) FROM workflow_join_ends AS o
        WHERE o.tenant_id = tenant AND o.workflow_id = workflow AND o.trigger_id = trigger AND o.key = join_key)
       = cardinality(wanted) THEN
        RETURN QUERY DELETE FROM workflow_join_ends AS o
        WHERE o.tenant_id = tenant AND o.workflow_id = workflow AND o.trigger_id = trigger AND o.key = join_key
        RETURNING o.followed, o.execution_id;
        DELETE FROM workflow_joins AS j
        WHERE j.tenant_id = tenant AND j.workflow_id = workflow AND j.trigger_id = trigger AND j.key = join_key;
    END IF;
END $$;
COMMENT ON FUNCTION join_end IS
    'Adds an end to those that a trigger waits for, the latest of each workflow; returns all of them when the last one is '
    'there, and begins anew.';

CREATE FUNCTION forget_joined(tenant uuid, runs uuid[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    one record;
BEGIN
    -- In the order in which ends are counted. Each row is locked before its ends are looked at: one may just be coming.
    FOR one IN SELECT DISTINCT o.workflow_id, o.trigger_id COLLATE "C" AS trigger_id, o.key
               -- OFFSET 0 keeps it a look by the execution alone: all of the tenant's would be taken for few.
               FROM unnest(runs) AS r (id) CROSS JOIN LATERAL (
                   SELECT j.tenant_id, j.workflow_id, j.trigger_id, j.key FROM workflow_join_ends AS j
                   WHERE j.execution_id = r.id OFFSET 0) AS o
               WHERE o.tenant_id = tenant ORDER BY 1, 2, 3 LOOP
        PERFORM FROM workflow_joins AS j
        WHERE j.tenant_id = tenant AND j.workflow_id = one.workflow_id AND j.trigger_id = one.trigger_id AND j.key = one.key
        FOR UPDATE;
        DELETE FROM workflow_join_ends AS o
        WHERE o.tenant_id = tenant AND o.workflow_id = one.workflow_id AND o.trigger_id = one.trigger_id AND o.key = one.key
          -- By the key: written like this no index on the executions serves it, and none is taken, 200 ids for each key.
          AND array_position(runs, o.execution_id) IS NOT NULL;
        DELETE FROM workflow_joins AS j
        WHERE j.tenant_id = tenant AND j.workflow_id = one.workflow_id AND j.trigger_id = one.trigger_id AND j.key = one.key
          AND NOT EXISTS (
            SELECT FROM workflow_join_ends AS o WHERE o.tenant_id = j.tenant_id AND o.workflow_id = j.workflow_id
            AND o.trigger_id = j.trigger_id AND o.key = j.key);
    END LOOP;
END $$;
COMMENT ON FUNCTION forget_joined IS 'Takes the ends of executions away from the triggers that wait for more; part of erase_listed.';

-- ---------------------------------------------------------------------------------------------- what is handed over

-- Rows as the engine hands them to its statements, many in one parameter. An array of rows costs the client half of what
-- an array per column does, and the server a third less. JSON comes as text, and the statement casts it.

CREATE TYPE arrived_key AS (
    tenant_id uuid, source text, key text, event_id uuid, digest bytea, expires_at timestamptz
);
COMMENT ON TYPE arrived_key IS 'ingest_events.sql: dedupe keys';

CREATE TYPE arrived_event AS (
    tenant_id uuid, id uuid, kind text, type text, source text, route text, subject_kind text, subject_id text, data text,
    occurred_at timestamptz, dedupe_key text, depth smallint, caused_by uuid, matched boolean, passed_over integer,
    also_caused_by uuid[], gate uuid
);
COMMENT ON TYPE arrived_event IS 'ingest_events.sql: events; gate is the id whose dedupe key must be new';

CREATE TYPE arrived_execution AS (
    tenant_id uuid, id uuid, workflow_id uuid, version integer, event_id uuid, ordinal integer, trigger_id text,
    trigger_type text, status text, mode text, priority smallint, deadline_at timestamptz, depth smallint, origin_id uuid,
    parent_id uuid, parent_path text, subject_kind text, subject_id text, inputs text, variables text, sealed bytea,
    metadata text, limits text, gate uuid
);
COMMENT ON TYPE arrived_execution IS 'ingest_events.sql: executions that events start';

CREATE TYPE started_part AS (
    licence uuid, tenant_id uuid, parent_id uuid, parent_path text, id uuid, part text, sealed bytea
);
COMMENT ON TYPE started_part IS 'start_parts.sql: parts of distributed steps';

CREATE TYPE arrived_refusal AS (
    tenant_id uuid, event_id uuid, workflow_id uuid, trigger_id text, reason text, detail text, gate uuid
);
COMMENT ON TYPE arrived_refusal IS 'ingest_events.sql: why workflows did not start';

CREATE FUNCTION wake_waits(arrived arrived_event[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    -- Planned while nobody waits, it has to be good when thousands do.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    found record;
BEGIN
    IF NOT EXISTS (SELECT FROM wait_shapes) THEN
        RETURN;
    END IF;
    FOR found IN
        -- Apart, for the index to be asked for four plain values: with the expression in the join it is asked for three,
        -- and what waits for a route is gone through for every event.
        WITH keys AS MATERIALIZED (
            SELECT u.tenant_id, u.route, u.id, s.key_path, wait_key(u.data::jsonb, s.key_path) AS key
            FROM unnest(arrived) AS u
            JOIN wait_shapes AS s ON s.tenant_id = u.tenant_id AND s.route = u.route
        ), waiting AS MATERIALIZED (
            SELECT w.tenant_id, w.execution_id, w.path, k.key_path, k.id
            FROM keys AS k
            JOIN event_waits AS w
                ON w.tenant_id = k.tenant_id AND w.route = k.route AND w.key_path = k.key_path AND w.key = k.key
        ), hits AS (
            INSERT INTO event_hits (tenant_id, execution_id, path, event_id)
            SELECT h.tenant_id, h.execution_id, h.path, h.id FROM waiting AS h WHERE h.key_path <> '{}'
            ON CONFLICT DO NOTHING
        )
        SELECT h.tenant_id, array_agg(DISTINCT h.execution_id) AS ids FROM waiting AS h GROUP BY h.tenant_id
    LOOP
        PERFORM wake_executions(found.tenant_id, found.ids);
    END LOOP;
END $$;
COMMENT ON FUNCTION wake_waits IS
    'Wakes the executions that may wait for some of these events; part of the transaction that stores them.';

CREATE TYPE progress_wait AS (
    tenant_id uuid, execution_id uuid, path text, route text, key_path text[], key text, scanned_until timestamptz
);
COMMENT ON TYPE progress_wait IS 'record_progress.sql: events that steps begin to wait for, or how far they have looked';

CREATE TYPE awaited_event AS (tenant_id uuid, route text, first uuid, key_path text[], key text);
COMMENT ON TYPE awaited_event IS 'scan_events.sql: what steps look for';

CREATE TYPE progress_waited AS (tenant_id uuid, execution_id uuid, path text);
COMMENT ON TYPE progress_waited IS 'record_progress.sql: waits that are over';

CREATE FUNCTION record_waits(begun progress_wait[], ended progress_waited[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    -- Locked, or changed when it is old: what prunes old ones does not take it away meanwhile.
    INSERT INTO wait_shapes AS s (tenant_id, route, key_path)
    SELECT DISTINCT u.tenant_id, u.route, u.key_path FROM unnest(begun) AS u ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, route, key_path) DO UPDATE SET used_at = now() WHERE s.used_at < now() - interval '1 hour';
    INSERT INTO event_waits (tenant_id, execution_id, path, route, key_path, key, scanned_until)
    SELECT u.tenant_id, u.execution_id, u.path, u.route, u.key_path, u.key, u.scanned_until FROM unnest(begun) AS u
    -- Between a COMMIT whose answer was lost and its repetition another instance may have got what was waited for.
    WHERE NOT step_has_completed(u.tenant_id, u.execution_id, u.path)
    ON CONFLICT (tenant_id, execution_id, path) DO UPDATE SET scanned_until = excluded.scanned_until;
    DELETE FROM event_waits AS w USING unnest(ended) AS u
    WHERE w.tenant_id = u.tenant_id AND w.execution_id = u.execution_id AND w.path = u.path;
    DELETE FROM event_hits AS h USING unnest(ended) AS u
    WHERE h.tenant_id = u.tenant_id AND h.execution_id = u.execution_id AND h.path = u.path;
END $$;
COMMENT ON FUNCTION record_waits IS 'The part of record_progress.sql for steps that wait for events: those that begin to, and those whose wait is over.';

CREATE TYPE progress_folded AS (tenant_id uuid, execution_id uuid, path text);
COMMENT ON TYPE progress_folded IS 'record_progress.sql: turns of loops that a fold replaces, and earlier folds';

CREATE FUNCTION remove_folded(folded progress_folded[]) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    -- All of a turn: each[3] itself, and what begins with each[3]. and so comes before each[3]/ in the order of bytes.
    DELETE FROM workflow_steps AS s USING unnest(folded) AS u
    WHERE s.tenant_id = u.tenant_id AND s.execution_id = u.execution_id AND s.path >= u.path AND s.path < u.path || '/';
    DELETE FROM waits AS w USING unnest(folded) AS u
    WHERE w.tenant_id = u.tenant_id AND w.execution_id = u.execution_id AND w.path >= u.path AND w.path < u.path || '/';
END $$;
COMMENT ON FUNCTION remove_folded IS
    'The part of record_progress.sql for loops that fold turns away; their fold is among the steps of the same flush.';

CREATE TYPE progress_step AS (
    tenant_id uuid, execution_id uuid, path text, seq integer, verb text, action_type text, status text, attempt integer,
    input text, output text, error text, due_at timestamptz, started_at timestamptz, completed_at timestamptz
);
COMMENT ON TYPE progress_step IS 'record_progress.sql: steps';

CREATE TYPE progress_change AS (
    tenant_id uuid, id uuid, status text, output text, error text, due_at timestamptz, pending_reason text,
    completed_at timestamptz
);
COMMENT ON TYPE progress_change IS 'record_progress.sql: executions that leave their instance';

CREATE TYPE progress_log AS (
    tenant_id uuid, execution_id uuid, id uuid, path text, level text, message text, data text
);
COMMENT ON TYPE progress_log IS 'record_progress.sql: lines for the logs';

CREATE TYPE progress_note AS (
    tenant_id uuid, execution_id uuid, id uuid, type text, path text, detail text
);
COMMENT ON TYPE progress_note IS 'record_progress.sql: entries for the timeline';

CREATE TYPE progress_memory AS (
    tenant_id uuid, execution_id uuid, key text, value text, step_execution_id uuid, path text
);
COMMENT ON TYPE progress_memory IS
    'record_progress.sql: what steps remember; a step of a part is on record in the part, and what it remembers in the whole';

-- ---------------------------------------------------------------------------------------------- limits

-- Reached only through the triggers on workflow_executions, whose conditions are false for executions without limits, and
-- through pass_due. Whatever decides whether something may start is decided under the lock of one row: the lane's, the
-- window's, the key's. Lanes are locked before executions; who locks several does so in the order of their ids.

CREATE TABLE lanes (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    workflow_id  uuid,
    key          text NOT NULL,
    most         integer NOT NULL CHECK (most > 0),
    taken        integer NOT NULL DEFAULT 0 CHECK (taken >= 0),
    set_by       uuid NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 50);
COMMENT ON TABLE lanes IS
    'Where at most so many executions are under way at once: one row for each key in use. The id is derived from the key.';
COMMENT ON COLUMN lanes.workflow_id IS 'NULL when workflows of a tenant share the lane.';
COMMENT ON COLUMN lanes.most IS 'As the newest start has it; more may hold a slot for a while after it was lowered.';
COMMENT ON COLUMN lanes.set_by IS 'The execution that brought this limit; older ones that come late do not change it.';

CREATE TABLE slots (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    lane_id       uuid NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, lane_id)
);
COMMENT ON TABLE slots IS 'Who holds a slot in a lane; as many as lanes.taken says. Given back once, however often it is tried.';
CREATE INDEX slots_by_lane ON slots (tenant_id, lane_id, execution_id);
COMMENT ON INDEX slots_by_lane IS 'list_holders.sql, make_way: who holds a lane';

CREATE TABLE windows (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    seq         bigint NOT NULL DEFAULT 0,
    last_at     timestamptz NOT NULL DEFAULT '-infinity',
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 50);
COMMENT ON TABLE windows IS 'Sliding windows of throttle and rate_limit: one row for each key, with the number of its last start.';
CREATE INDEX windows_by_expiry ON windows (expires_at);
COMMENT ON INDEX windows_by_expiry IS 'prune_limits.sql';

CREATE TABLE window_starts (
    tenant_id  uuid NOT NULL,
    window_id  uuid NOT NULL,
    seq        bigint NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, window_id, seq),
    FOREIGN KEY (tenant_id, window_id) REFERENCES windows (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE window_starts IS
    'The starts that a window still counts. The n-th may come once the (n - limit)-th is a whole period old: one look by key.';

CREATE TABLE start_keys (
    tenant_id     uuid NOT NULL,
    id            uuid NOT NULL,
    execution_id  uuid NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 90);
COMMENT ON TABLE start_keys IS 'Idempotency: which keys have started a workflow, and which execution that was.';
CREATE INDEX start_keys_by_expiry ON start_keys (expires_at);
COMMENT ON INDEX start_keys_by_expiry IS 'prune_limits.sql';

CREATE TABLE collections (
    tenant_id     uuid NOT NULL,
    id            uuid NOT NULL,
    execution_id  uuid NOT NULL,
    size          integer NOT NULL DEFAULT 0,
    opened_at     timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 50);
COMMENT ON TABLE collections IS
    'Debounce and batch: which pending execution collects the events of a key. It collects until its time has come.';
CREATE INDEX collections_by_expiry ON collections (expires_at);
COMMENT ON INDEX collections_by_expiry IS 'prune_limits.sql';

CREATE TABLE execution_events (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    event_id      uuid NOT NULL,
    position      integer NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, event_id)
) PARTITION BY RANGE (execution_id);
CREATE INDEX execution_events_by_event ON execution_events (tenant_id, event_id);
COMMENT ON INDEX execution_events_by_event IS 'erase_unnamed_events, reach_further: which batch an event is in';
COMMENT ON TABLE execution_events IS 'The events of a batch, in the order in which they came; others have the one that their row names.';

CREATE FUNCTION seconds_of(rule jsonb, name text) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
    RETURN make_interval(secs => (rule ->> name)::double precision);

CREATE FUNCTION wake_claimers() RETURNS void LANGUAGE sql SET search_path = pg_catalog
    RETURN pg_notify('hark_work', '');
COMMENT ON FUNCTION wake_claimers IS 'Tells the instances that something can be claimed.';

CREATE FUNCTION refuse_start(e workflow_executions, reason text, detail text) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO event_decisions (tenant_id, event_id, workflow_id, trigger_id, reason, detail)
    VALUES (e.tenant_id, e.event_id, e.workflow_id, coalesce(e.trigger_id, e.trigger_type), reason, detail)
    ON CONFLICT DO NOTHING;
END;
COMMENT ON FUNCTION refuse_start IS 'Puts on record why an event started no execution of its own.';

CREATE FUNCTION supersede(tenant uuid, execution uuid, by uuid) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE workflow_executions AS e
    SET status = 'skipped', completed_at = now(), due_at = NULL, pending_reason = NULL,
        error = jsonb_build_object('class', 'superseded', 'message', 'a later start took its place: execution ' || by,
                                   'details', jsonb_build_object('superseded_by', by))
    WHERE e.tenant_id = tenant AND e.id = execution AND e.status = 'pending';
END;
COMMENT ON FUNCTION supersede IS 'Ends an execution that has not begun, because a later one takes its place.';

CREATE FUNCTION next_start(tenant uuid, rule jsonb, may_wait boolean) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    was windows;
    most bigint := (rule ->> 'limit')::bigint;
    per interval := seconds_of(rule, 'per_s');
    moment timestamptz;
BEGIN
    INSERT INTO windows AS w (tenant_id, id, expires_at)
    VALUES (tenant, (rule ->> 'id')::uuid, clock_timestamp() + per)
    ON CONFLICT (tenant_id, id) DO UPDATE SET seq = w.seq
    RETURNING w.* INTO was;
    -- By the clock and not by the transaction's begin: this one may have waited for the window.
    SELECT greatest(clock_timestamp(), was.last_at, s.at + per) INTO moment
    FROM (VALUES (1)) AS one LEFT JOIN window_starts AS s
        ON s.tenant_id = tenant AND s.window_id = was.id AND s.seq = was.seq + 1 - most;
    IF moment > clock_timestamp() AND NOT may_wait THEN
        RETURN moment;
    END IF;
    UPDATE windows AS w SET seq = was.seq + 1, last_at = moment, expires_at = moment + per
    WHERE w.tenant_id = tenant AND w.id = was.id;
    INSERT INTO window_starts (tenant_id, window_id, seq, at) VALUES (tenant, was.id, was.seq + 1, moment);
    DELETE FROM window_starts AS s
    WHERE s.tenant_id = tenant AND s.window_id = was.id AND s.seq <= was.seq + 1 - most;
    RETURN moment;
END $$;
COMMENT ON FUNCTION next_start IS
    'When the next start of a window may be: now, or later. It is booked for then, unless it would be later and may not wait. '
    'Strict: in no span of `per_s` are there more than `limit`.';

CREATE FUNCTION give_back_start(tenant uuid, rule jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    last bigint;
BEGIN
    UPDATE windows AS w SET seq = w.seq - 1 WHERE w.tenant_id = tenant AND w.id = (rule ->> 'id')::uuid RETURNING w.seq + 1 INTO last;
    DELETE FROM window_starts AS s WHERE s.tenant_id = tenant AND s.window_id = (rule ->> 'id')::uuid AND s.seq = last;
END $$;
COMMENT ON FUNCTION give_back_start IS
    'Takes back the last booking of a window, which is this transaction''s own: the window has been locked since. It was for '
    'now, so the start that next_start has dropped for it would not count any more anyway.';

CREATE FUNCTION hold_collection(e workflow_executions, rule jsonb) RETURNS collections
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    was collections;
BEGIN
    INSERT INTO collections AS c (tenant_id, id, execution_id, expires_at)
    VALUES (e.tenant_id, (rule ->> 'id')::uuid, e.id, now())
    ON CONFLICT (tenant_id, id) DO UPDATE SET size = c.size
    RETURNING c.* INTO was;
    PERFORM FROM workflow_executions AS o
    WHERE o.tenant_id = e.tenant_id AND o.id = was.execution_id AND o.status = 'pending' AND o.gate = 2
    FOR NO KEY UPDATE;
    IF NOT FOUND OR was.size >= (rule ->> 'size')::integer THEN
        was.execution_id := e.id;
        was.size := 0;
        was.opened_at := clock_timestamp();
    END IF;
    RETURN was;
END $$;
COMMENT ON FUNCTION hold_collection IS 'Locks what collects the events of a key, and opens it anew with this execution when nothing collects there.';

CREATE FUNCTION keep_collection(c collections, due timestamptz) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE collections AS k
    SET execution_id = c.execution_id, size = c.size, opened_at = c.opened_at, expires_at = due + interval '1 hour'
    WHERE k.tenant_id = c.tenant_id AND k.id = c.id;
END;

CREATE FUNCTION debounce(e workflow_executions, rule jsonb) RETURNS workflow_executions
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    c collections := hold_collection(e, rule);
BEGIN
    IF c.execution_id <> e.id THEN
        PERFORM supersede(e.tenant_id, c.execution_id, e.id);
        c.execution_id := e.id;
    END IF;
    e.due_at := least(clock_timestamp() + seconds_of(rule, 'period_s'), c.opened_at + seconds_of(rule, 'timeout_s'));
    e.pending_reason := 'debounced';
    PERFORM keep_collection(c, e.due_at);
    RETURN e;
END $$;
COMMENT ON FUNCTION debounce IS 'Puts an execution off until the events of its key have been quiet; the one before gives way to it.';

CREATE FUNCTION batch(e workflow_executions, rule jsonb) RETURNS workflow_executions
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    c collections := hold_collection(e, rule);
BEGIN
    c.size := c.size + 1;
    INSERT INTO execution_events (tenant_id, execution_id, event_id, position)
    VALUES (e.tenant_id, c.execution_id, e.event_id, c.size);
    e.due_at := c.opened_at + seconds_of(rule, 'timeout_s');
    IF c.size >= (rule ->> 'size')::integer THEN
        e.due_at := now();
        PERFORM wake_claimers();
    END IF;
    e.pending_reason := 'batched';
    PERFORM keep_collection(c, e.due_at);
    IF c.execution_id <> e.id THEN
        PERFORM refuse_start(e, 'batched', c.execution_id::text);
        UPDATE workflow_executions AS o SET due_at = e.due_at WHERE o.tenant_id = e.tenant_id AND o.id = c.execution_id;
        e.id := NULL;
    END IF;
    RETURN e;
END $$;
COMMENT ON FUNCTION batch IS 'Puts an execution off until its batch is full or its time is over. Without an id: it has joined another one.';

CREATE FUNCTION hold_lane(e workflow_executions, rule jsonb) RETURNS lanes
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    lane_id uuid := (rule ->> 'id')::uuid;
    wanted integer := (rule ->> 'limit')::integer;
    was lanes;
BEGIN
    SELECT l.* INTO was FROM lanes AS l WHERE l.tenant_id = e.tenant_id AND l.id = lane_id FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO lanes AS l (tenant_id, id, workflow_id, key, most, set_by)
        VALUES (e.tenant_id, lane_id, CASE WHEN rule ->> 'scope' = 'tenant' THEN NULL ELSE e.workflow_id END,
                coalesce(rule ->> 'key', ''), wanted, e.id)
        ON CONFLICT (tenant_id, id) DO UPDATE SET key = l.key
        RETURNING l.* INTO was;
    END IF;
    IF was.most <> wanted AND e.id > was.set_by THEN
        UPDATE lanes AS l SET most = wanted, set_by = e.id WHERE l.tenant_id = e.tenant_id AND l.id = lane_id;
        -- Who queued until now comes first.
        PERFORM admit_next(e.tenant_id, lane_id);
        SELECT l.* INTO was FROM lanes AS l WHERE l.tenant_id = e.tenant_id AND l.id = lane_id;
    END IF;
    RETURN was;
END $$;
COMMENT ON FUNCTION hold_lane IS 'Locks a lane until the transaction ends, and makes it when it is not there. The newest start sets its limit.';

CREATE FUNCTION take_slot(tenant uuid, lane uuid, execution uuid) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE lanes AS l SET taken = l.taken + 1 WHERE l.tenant_id = tenant AND l.id = lane;
    INSERT INTO slots (tenant_id, execution_id, lane_id) VALUES (tenant, execution, lane);
END;
COMMENT ON FUNCTION take_slot IS 'Takes a slot in a lane that the caller has locked and found free.';

CREATE FUNCTION take_lanes(e workflow_executions) RETURNS workflow_executions
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    lane lanes;
BEGIN
    e.queued := false;
    WHILE e.held < cardinality(e.lanes) LOOP
        lane := hold_lane(e, e.limits -> 'lanes' -> e.held::integer);
        -- With `allow` it is counted, for the sake of others, and does not wait.
        IF lane.taken >= lane.most AND e.limits -> 'lanes' -> e.held::integer ->> 'overlap' IS DISTINCT FROM 'allow' THEN
            e.queued := true;
            EXIT;
        END IF;
        PERFORM take_slot(e.tenant_id, lane.id, e.id);
        e.held := e.held + 1;
    END LOOP;
    RETURN e;
END $$;
COMMENT ON FUNCTION take_lanes IS 'Takes slots as far as there are any, in order; where there is none the execution queues.';

CREATE FUNCTION admit_next(tenant uuid, lane uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    was lanes;
    e workflow_executions;
BEGIN
    LOOP
        SELECT l.* INTO was FROM lanes AS l WHERE l.tenant_id = tenant AND l.id = lane FOR UPDATE;
        EXIT WHEN was.taken >= was.most;
        -- One that is locked is being cancelled; should that come to nothing, sweep_lanes finds it.
        SELECT q.* INTO e FROM workflow_executions AS q
        WHERE q.queued AND q.status = 'pending' AND q.lanes[q.held + 1] = lane
        ORDER BY q.priority DESC, q.id
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        PERFORM take_slot(tenant, lane, e.id);
        e.held := e.held + 1;
        e := take_lanes(e);
        UPDATE workflow_executions AS q
        SET held = e.held, queued = e.queued, pending_reason = CASE WHEN e.queued THEN 'queued' ELSE 'admitted' END,
            deadline_at = CASE WHEN e.queued THEN q.deadline_at ELSE now() + seconds_of(e.limits, 'timeout_s') END
        WHERE q.tenant_id = tenant AND q.id = e.id;
        IF NOT e.queued THEN
            PERFORM wake_claimers();
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION admit_next IS 'Gives the free slots of a lane to those that queue for it: the highest priority first, then the oldest.';

CREATE FUNCTION make_way(e workflow_executions, lane lanes) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    oldest uuid;
BEGIN
    PERFORM supersede(q.tenant_id, q.id, e.id)
    FROM workflow_executions AS q
    WHERE q.queued AND q.status = 'pending' AND q.lanes[q.held + 1] = (lane).id AND q.id <> e.id;
    IF (lane).taken < (lane).most THEN
        RETURN;
    END IF;
    -- What is being cancelled already will leave its slot to this one.
    SELECT s.execution_id INTO oldest
    FROM slots AS s
    JOIN workflow_executions AS h ON h.tenant_id = s.tenant_id AND h.id = s.execution_id
    WHERE s.tenant_id = e.tenant_id AND s.lane_id = (lane).id
    ORDER BY h.cancel_requested_at, s.execution_id LIMIT 1;
    UPDATE workflow_executions AS h
    SET cancel_requested_at = now(), pending_reason = NULL,
        status = CASE WHEN h.status = 'running' THEN h.status ELSE 'cancelled' END,
        completed_at = CASE WHEN h.status = 'running' THEN NULL ELSE now() END,
        due_at = CASE WHEN h.status = 'running' THEN h.due_at END,
        error = CASE WHEN h.status = 'running' THEN h.error ELSE jsonb_build_object(
            'class', 'cancelled', 'message', 'a later start took its place: execution ' || e.id) END
    WHERE h.tenant_id = e.tenant_id AND h.id = oldest AND h.completed_at IS NULL AND h.cancel_requested_at IS NULL;
    IF FOUND THEN
        PERFORM pg_notify('hark_cancel', oldest::text);
    END IF;
END $$;
COMMENT ON FUNCTION make_way IS 'overlap: restart. Ends who queues in the lane, and cancels the oldest of those under way when it is full.';

CREATE FUNCTION pass_door(e workflow_executions) RETURNS workflow_executions
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    rule jsonb := e.limits -> 'idempotency';
    first uuid;
    moment timestamptz;
BEGIN
    IF rule IS NOT NULL THEN
        INSERT INTO start_keys AS k (tenant_id, id, execution_id, expires_at)
        VALUES (e.tenant_id, (rule ->> 'id')::uuid, e.id, now() + seconds_of(rule, 'ttl_s'))
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            execution_id = CASE WHEN k.expires_at <= now() THEN excluded.execution_id ELSE k.execution_id END,
            expires_at = CASE WHEN k.expires_at <= now() THEN excluded.expires_at ELSE k.expires_at END
        RETURNING k.execution_id INTO first;
        IF first <> e.id THEN
            PERFORM refuse_start(e, 'idempotent', format('the key %s has started execution %s', rule ->> 'key', first));
            e.id := NULL;
            RETURN e;
        END IF;
    END IF;
    rule := e.limits -> 'rate_limit';
    IF rule IS NOT NULL THEN
        moment := next_start(e.tenant_id, rule, false);
        IF moment > clock_timestamp() THEN
            PERFORM give_up_key(e);
            PERFORM refuse_start(e, 'rate_limited', format(
                'there were %s starts within %s s already; the next may be at %s', rule ->> 'limit', rule ->> 'per_s',
                to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')));
            e.id := NULL;
        END IF;
    END IF;
    RETURN e;
END $$;
COMMENT ON FUNCTION pass_door IS 'idempotency and rate_limit. Without an id: refused, on record.';

CREATE FUNCTION give_up_key(e workflow_executions) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM start_keys AS k
    WHERE k.tenant_id = e.tenant_id AND k.id = (e.limits -> 'idempotency' ->> 'id')::uuid AND k.execution_id = e.id;
END;
COMMENT ON FUNCTION give_up_key IS 'What was refused after all has not used its idempotency key.';

CREATE FUNCTION give_up_places(e workflow_executions, entered smallint) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    IF entered < 1 AND e.limits ? 'rate_limit' THEN
        PERFORM give_back_start(e.tenant_id, e.limits -> 'rate_limit');
    END IF;
    IF entered < 3 AND e.limits ? 'throttle' THEN
        PERFORM give_back_start(e.tenant_id, e.limits -> 'throttle');
    END IF;
END $$;
COMMENT ON FUNCTION give_up_places IS
    'What came through all gates at once, from the gate `entered` on, and was skipped at the last has used no place in a window.';

CREATE FUNCTION pass_lanes(e workflow_executions) RETURNS workflow_executions
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    rule jsonb := e.limits -> 'lanes' -> 0;
BEGIN
    IF rule IS NULL THEN
        RETURN e;
    END IF;
    e.lanes := ARRAY(SELECT (l.lane ->> 'id')::uuid FROM jsonb_array_elements(e.limits -> 'lanes') WITH ORDINALITY AS l (lane, n)
                     ORDER BY l.n);
    IF rule ->> 'overlap' = 'restart' THEN
        PERFORM make_way(e, hold_lane(e, rule));
    END IF;
    e := take_lanes(e);
    IF e.queued AND e.held = 0 AND rule ->> 'overlap' = 'skip' THEN
        e.queued := false;
        e.lanes := NULL;
        e.gate := 4;
    ELSIF e.queued THEN
        e.pending_reason := 'queued';
    END IF;
    RETURN e;
END $$;
COMMENT ON FUNCTION pass_lanes IS 'overlap, max_running and concurrency: takes slots, or queues. Gate 4: it overlaps, and is not wanted then.';

CREATE FUNCTION pass_gates(e workflow_executions) RETURNS workflow_executions
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz;
BEGIN
    IF e.gate < 1 THEN
        e := pass_door(e);
        e.gate := 1;
        IF e.id IS NULL THEN
            RETURN e;
        END IF;
    END IF;
    IF e.gate < 2 THEN
        e.gate := 2;
        IF e.limits ? 'debounce' THEN
            RETURN debounce(e, e.limits -> 'debounce');
        ELSIF e.limits ? 'batch' THEN
            RETURN batch(e, e.limits -> 'batch');
        END IF;
    END IF;
    IF e.gate < 3 THEN
        -- What waits here has passed the door, so nothing refuses it any more when its time has come.
        moment := (e.limits ->> 'not_before')::timestamptz;
        IF moment > clock_timestamp() THEN
            e.due_at := moment;
            e.pending_reason := 'delayed';
            RETURN e;
        END IF;
        e.gate := 3;
        IF e.limits ? 'throttle' THEN
            moment := next_start(e.tenant_id, e.limits -> 'throttle', true);
            IF moment > clock_timestamp() THEN
                e.due_at := moment;
                e.pending_reason := 'throttled';
                RETURN e;
            END IF;
        END IF;
    END IF;
    RETURN pass_lanes(e);
END $$;
COMMENT ON FUNCTION pass_gates IS
    'Leads an execution through the limits of its workflow as far as it may go now: ready, put off (due_at), or queued. '
    'Without an id: refused, or joined to another one. Gate 4: see pass_lanes.';

CREATE FUNCTION gate_start() RETURNS trigger LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    e workflow_executions;
BEGIN
    -- Sent once more after an answer that was lost: what was decided stays decided.
    IF EXISTS (SELECT FROM workflow_executions AS o WHERE o.tenant_id = NEW.tenant_id AND o.id = NEW.id) THEN
        RETURN NEW;
    END IF;
    IF NEW.gate = 0 AND EXISTS (SELECT FROM event_decisions AS d WHERE d.tenant_id = NEW.tenant_id AND d.event_id = NEW.event_id
            AND d.workflow_id = NEW.workflow_id AND d.trigger_id = coalesce(NEW.trigger_id, NEW.trigger_type)) THEN
        RETURN NULL;
    END IF;
    -- Repeated later: then pass_due leads it on.
    IF NEW.due_at IS NOT NULL THEN
        RETURN NEW;
    END IF;
    e := pass_gates(NEW);
    IF e.gate = 4 THEN
        PERFORM give_up_places(e, NEW.gate);
        IF e.ordinal = 0 THEN
            PERFORM give_up_key(e);
            PERFORM refuse_start(e, 'overlap', 'an execution of this workflow was under way, and `overlap` is skip');
            RETURN NULL;
        END IF;
        e.status := 'skipped';
        e.completed_at := now();
        e.error := jsonb_build_object('class', 'overlap', 'message', 'another execution was under way');
        e.instance_id := NULL;
    ELSIF e.id IS NULL THEN
        RETURN NULL;
    ELSIF e.queued OR e.due_at IS NOT NULL THEN
        e.status := 'pending';
        e.instance_id := NULL;
        e.claims := 0;
        e.started_at := NULL;
        e.deadline_at := NULL;
    END IF;
    RETURN e;
END $$;
COMMENT ON FUNCTION gate_start IS 'Leads a new execution through its limits: it may be refused, join another one, be put off, queue, or run.';

CREATE FUNCTION pass_due(most integer) RETURNS integer LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    e workflow_executions;
    passed integer := 0;
BEGIN
    FOR e IN
        SELECT p.* FROM workflow_executions AS p
        WHERE p.status = 'pending' AND p.due_at <= now()
        ORDER BY p.due_at, p.id
        LIMIT most FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        e.due_at := NULL;
        e.pending_reason := NULL;
        e := pass_gates(e);
        UPDATE workflow_executions AS p
        SET gate = e.gate, lanes = e.lanes, held = e.held, queued = e.queued, due_at = e.due_at,
            pending_reason = e.pending_reason,
            deadline_at = CASE WHEN e.limits IS NULL THEN p.deadline_at
                               WHEN e.queued OR e.due_at IS NOT NULL THEN NULL ELSE now() + seconds_of(e.limits, 'timeout_s') END,
            status = CASE WHEN e.gate = 4 THEN 'skipped' ELSE p.status END,
            completed_at = CASE WHEN e.gate = 4 THEN now() END,
            error = CASE WHEN e.gate = 4 THEN jsonb_build_object(
                'class', 'overlap', 'message', 'another execution was under way when its time had come') END
        WHERE p.tenant_id = e.tenant_id AND p.id = e.id;
        passed := passed + 1;
    END LOOP;
    RETURN passed;
END $$;
COMMENT ON FUNCTION pass_due IS 'Leads executions that were put off and whose time has come through the limits that are left; how many.';

CREATE FUNCTION free_slots(tenant uuid, execution uuid) RETURNS void LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    lane uuid;
BEGIN
    FOR lane IN
        SELECT s.lane_id FROM slots AS s WHERE s.tenant_id = tenant AND s.execution_id = execution ORDER BY s.lane_id
    LOOP
        PERFORM FROM lanes AS l WHERE l.tenant_id = tenant AND l.id = lane FOR UPDATE;
        DELETE FROM slots AS s WHERE s.tenant_id = tenant AND s.execution_id = execution AND s.lane_id = lane;
        UPDATE lanes AS l SET taken = l.taken - 1 WHERE l.tenant_id = tenant AND l.id = lane AND FOUND;
        PERFORM admit_next(tenant, lane);
        DELETE FROM lanes AS l WHERE l.tenant_id = tenant AND l.id = lane AND l.taken = 0
            AND NOT EXISTS (SELECT FROM workflow_executions AS q
                            WHERE q.queued AND q.status = 'pending' AND q.lanes[q.held + 1] = lane);
    END LOOP;
END $$;
COMMENT ON FUNCTION free_slots IS 'Gives back the slots of an execution that has ended, and starts who is next, in the same transaction.';

CREATE TRIGGER limits_at_start BEFORE INSERT ON workflow_executions
    FOR EACH ROW WHEN (NEW.limits IS NOT NULL) EXECUTE FUNCTION gate_start();

CREATE FUNCTION settle_deletion() RETURNS trigger LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    PERFORM free_slots(OLD.tenant_id, OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER limits_at_deletion AFTER DELETE ON workflow_executions
    FOR EACH ROW WHEN (OLD.lanes IS NOT NULL AND OLD.completed_at IS NULL) EXECUTE FUNCTION settle_deletion();

CREATE FUNCTION settle_end() RETURNS trigger LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    -- What ends while it has an owner is ended by record_progress.sql, which notes a whole flush at once: here it would cost
    -- each execution more than a tenth of its time. Tests and dry runs start nothing; a part of a distributed step is no
    -- execution of its own to anybody.
    IF OLD.instance_id IS NULL AND NEW.part IS NULL AND NEW.mode = 'production' THEN
        PERFORM note_ends(ARRAY[NEW.tenant_id], ARRAY[NEW.id], ARRAY[NEW.workflow_id]);
    END IF;
    IF NEW.status <> 'completed' THEN
        PERFORM leave_nothing_open(NEW.tenant_id, NEW.id);
    END IF;
    IF NEW.parent_id IS NOT NULL THEN
        PERFORM wake_executions(NEW.tenant_id, ARRAY[NEW.parent_id]);
    END IF;
    IF OLD.lanes IS NOT NULL THEN
        PERFORM free_slots(NEW.tenant_id, NEW.id);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION settle_end IS
    'What the end of an execution brings about: workflows that start after it, what it leaves open, its parent, its slots.';
-- One trigger and not four, whose conditions each statement would read; most executions need none of it. What ends while
-- it has no owner never completes.
CREATE TRIGGER executions_settle_their_end AFTER UPDATE OF completed_at ON workflow_executions
    FOR EACH ROW WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL
                       AND (NEW.status <> 'completed' OR NEW.parent_id IS NOT NULL OR OLD.lanes IS NOT NULL))
    EXECUTE FUNCTION settle_end();

CREATE FUNCTION lock_lanes(tenants uuid[], ids uuid[]) RETURNS void LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    IF ids <> '{}' THEN
        PERFORM FROM lanes AS l WHERE (l.tenant_id, l.id) IN (SELECT * FROM unnest(tenants, ids)) ORDER BY l.id FOR UPDATE;
        PERFORM FROM windows AS w WHERE (w.tenant_id, w.id) IN (SELECT * FROM unnest(tenants, ids)) ORDER BY w.id FOR UPDATE;
    END IF;
END $$;
COMMENT ON FUNCTION lock_lanes IS 'Locks the lanes and windows that a flush is going to need, in one order, so that two instances rarely deadlock.';

CREATE FUNCTION lock_lanes_of(changes progress_change[]) RETURNS void LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM slots) THEN
        PERFORM FROM lanes AS l
        WHERE (l.tenant_id, l.id) IN (
            SELECT s.tenant_id, s.lane_id FROM unnest(changes) AS u
            JOIN slots AS s ON s.tenant_id = u.tenant_id AND s.execution_id = u.id WHERE u.completed_at IS NOT NULL)
        ORDER BY l.id FOR UPDATE;
    END IF;
END $$;
COMMENT ON FUNCTION lock_lanes_of IS
    'Locks the lanes of executions that are about to end, before their rows: whoever starts something locks in that order too.';

CREATE FUNCTION find_bad_lanes() RETURNS SETOF lanes LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT l.* FROM lanes AS l
    WHERE l.taken <> (SELECT count(*) FROM slots AS s WHERE s.tenant_id = l.tenant_id AND s.lane_id = l.id)
        OR (l.taken < l.most AND EXISTS (SELECT FROM workflow_executions AS q
                                         WHERE q.queued AND q.status = 'pending' AND q.lanes[q.held + 1] = l.id))
        OR EXISTS (SELECT FROM slots AS s WHERE s.tenant_id = l.tenant_id AND s.lane_id = l.id AND NOT EXISTS (
            SELECT FROM workflow_executions AS e
            WHERE e.tenant_id = s.tenant_id AND e.id = s.execution_id AND e.completed_at IS NULL));
END;
COMMENT ON FUNCTION find_bad_lanes IS 'Lanes whose count is not that of their slots, with slots of executions that have ended, or free while some queue.';

CREATE FUNCTION sweep_lanes() RETURNS integer LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    was lanes;
    swept integer := 0;
BEGIN
    FOR was IN SELECT * FROM find_bad_lanes() ORDER BY id LOOP
        PERFORM FROM lanes AS l WHERE l.tenant_id = was.tenant_id AND l.id = was.id FOR UPDATE;
        DELETE FROM slots AS s WHERE s.tenant_id = was.tenant_id AND s.lane_id = was.id AND NOT EXISTS (
            SELECT FROM workflow_executions AS e
            WHERE e.tenant_id = s.tenant_id AND e.id = s.execution_id AND e.completed_at IS NULL);
        UPDATE lanes AS l
        SET taken = (SELECT count(*) FROM slots AS s WHERE s.tenant_id = l.tenant_id AND s.lane_id = l.id)
        WHERE l.tenant_id = was.tenant_id AND l.id = was.id;
        PERFORM admit_next(was.tenant_id, was.id);
        swept := swept + 1;
    END LOOP;
    RETURN swept;
END $$;
COMMENT ON FUNCTION sweep_lanes IS
    'Sets right what can only be wrong after somebody wrote by hand, or after a queued execution was locked at the moment of its '
    'turn; returns in how many lanes there was something.';

-- ---------------------------------------------------------------------------------------------- row capture

-- All of this section, and nothing else of this file, is also put into the databases of named connections, into a schema of
-- its own there: daemon/store/remote_schema.py takes it from here. So it stands for itself: it uses nothing from outside of
-- it, whatever follows its first function is functions alone, and names of `hark.` are qualified.

CREATE TABLE outbox (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    identity    uuid NOT NULL DEFAULT gen_random_uuid(),
    home        uuid,
    place       text,
    connection  text,
    layout      text,
    functions   text
);
COMMENT ON TABLE outbox IS
    'One row: what tells this outbox from all others, and whose it is. Of the home database the identity is that of the whole '
    'Hark, and names its schema in other databases: hark_ and the first eight digits.';
COMMENT ON COLUMN outbox.home IS 'The identity of the home database to which the changes are moved; NULL: it is this one.';
COMMENT ON COLUMN outbox.place IS
    'The server and database on which the home lies: a copy of the home has its identity, and must not take its changes.';
COMMENT ON COLUMN outbox.connection IS 'The name of the connection by which the home knows this database.';
COMMENT ON COLUMN outbox.layout IS 'A digest of the tables here as they were made; functions: of the functions.';
INSERT INTO outbox DEFAULT VALUES;

CREATE TABLE watches (
    id             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name    text NOT NULL,
    table_name     text NOT NULL,
    subscriptions  jsonb NOT NULL CHECK (jsonb_typeof(subscriptions) = 'array'),
    unseen         text[] NOT NULL DEFAULT '{}',
    active         boolean NOT NULL DEFAULT true,
    problem        text,
    warnings       jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(warnings) = 'array'),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (schema_name, table_name)
);
COMMENT ON TABLE watches IS
    'Tables of the users whose changes are captured, each once, however many workflows watch it. The triggers that do it '
    'are named hark_capture_*; the daemon keeps them as this table says.';
COMMENT ON COLUMN watches.subscriptions IS
    'Who gets an event of what: [{tenant, per: row or statement, operations: [...]}]; kept after the watch has ended, for '
    'the changes that are still on their way.';
COMMENT ON COLUMN watches.unseen IS 'Virtual columns: triggers see NULL in them, whatever a reader sees.';
COMMENT ON COLUMN watches.problem IS 'Why not all of it is captured right now, when it is not.';
COMMENT ON COLUMN watches.warnings IS
    'Columns that workflows use and that are gone: [{tenant, workflow, text}]; the rows are captured all the same.';

CREATE TABLE row_changes (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    watch_id        integer NOT NULL,
    operation       text NOT NULL,
    row_count       integer NOT NULL,
    old_rows        text,
    new_rows        text,
    transaction_id  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    occurred_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    note            jsonb,
    parked_at       timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 50000, vacuum_truncate = off,
        toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 2000,
        toast.autovacuum_vacuum_cost_delay = 0, toast.vacuum_truncate = off);
COMMENT ON TABLE row_changes IS
    'The outbox of row capture: what the writers'' own transactions changed, on its way to the events. A record holds the '
    'rows of one statement, or a part of them. Small: what became an event is deleted in the same transaction.';
COMMENT ON COLUMN row_changes.operation IS 'insert, update, delete or truncate. The writer pays for every CHECK and column here.';
COMMENT ON COLUMN row_changes.old_rows IS
    'JSON array of the rows before, in the order of new_rows. As text: it is never searched, and jsonb would refuse U+0000.';
COMMENT ON COLUMN row_changes.occurred_at IS
    'A default: written out, a volatile function would cost INSERT with SELECT one more node of the plan.';
COMMENT ON COLUMN row_changes.note IS
    'What few records have. actor, reason, depth, execution_id: the settings hark.* of the writer''s transaction. part, '
    'statement_rows: a large statement is kept in parts, numbered from 0; the first says how many rows it changed. '
    'left_out: columns that were too large for an event or have no JSON; error: why something is missing. partition: '
    'which one was truncated, when it was not the whole table.';
COMMENT ON COLUMN row_changes.parked_at IS 'Since when it is put aside, because it cannot be made into an event.';
-- Most records are gone within a second: compressing them costs the writer more than it saves.
ALTER TABLE row_changes ALTER COLUMN old_rows SET STORAGE EXTERNAL, ALTER COLUMN new_rows SET STORAGE EXTERNAL;

CREATE SEQUENCE capture_wakeups AS smallint MINVALUE 0 MAXVALUE 1 START WITH 0;
COMMENT ON SEQUENCE capture_wakeups IS
    'A flag: 1 while instances want a NOTIFY for new row changes, 0 while they look by themselves. A sequence, because it '
    'changes in place and outside of transactions: a table''s row would leave a dead version for every change, which each '
    'writer has to read over, and a transaction with an old snapshot would not see it.';

-- What follows runs inside the writers' statements. It must never fail them, whatever the row, the writer''s settings or
-- rights, or the state of this schema.

CREATE FUNCTION capture_note(more jsonb) RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN concat(current_setting('hark.actor', true), current_setting('hark.reason', true),
                            current_setting('hark.depth', true)) = '' THEN more
        ELSE coalesce(more, '{}') || jsonb_strip_nulls(jsonb_build_object(
            'actor', left(nullif(current_setting('hark.actor', true), ''), 1000),
            'reason', left(nullif(current_setting('hark.reason', true), ''), 1000),
            'depth', nullif(current_setting('hark.depth', true), ''),
            'execution_id', nullif(current_setting('hark.execution_id', true), ''))) END
$$;
COMMENT ON FUNCTION capture_note IS 'What a record notes besides its rows: what the writer says of itself, and more.';

CREATE FUNCTION keep_row_change(watch integer, operation text, row_count integer, old_rows text, new_rows text,
                                more jsonb) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    INSERT INTO hark.row_changes (watch_id, operation, row_count, old_rows, new_rows, note)
    VALUES (watch, operation, row_count, old_rows, new_rows,
            CASE WHEN current_setting('hark.actor', true) <> '' OR current_setting('hark.reason', true) <> ''
                      OR current_setting('hark.depth', true) <> '' THEN hark.capture_note(more) ELSE more END)
    RETURNING id INTO kept;
    -- A full queue would fail the writer's commit; the instances look by themselves too.
    IF pg_sequence_last_value('hark.capture_wakeups') = 1 AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('hark_rows', '');
    END IF;
    RETURN kept;
END $$;
COMMENT ON FUNCTION keep_row_change IS 'Puts one record into the outbox, in the writer''s transaction.';

CREATE FUNCTION careful_row_json(relation oid, tuple anyelement, OUT content text, OUT left_out text[], OUT error text)
    LANGUAGE plpgsql AS $$
DECLARE
    largest constant integer := 65536;
    column_name text;
    value text;
    parts text[] := '{}';
BEGIN
    FOR column_name IN
        SELECT a.attname FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    LOOP
        BEGIN
            EXECUTE format('SELECT CASE WHEN pg_column_size(($1).%1$I) <= $2 THEN to_json(($1).%1$I)::text '
                           'WHEN ($1).%1$I IS NULL THEN ''null'' END', column_name)
                INTO value USING tuple, largest;
            IF octet_length(value) > largest THEN
                value := NULL;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            value := NULL;
            error := format('%s: %s', column_name, SQLERRM);
        END;
        IF value IS NULL THEN
            left_out := array_append(left_out, column_name);
        ELSE
            parts := array_append(parts, to_json(column_name)::text || ':' || value);
        END IF;
    END LOOP;
    content := '{' || array_to_string(parts, ',') || '}';
    IF octet_length(content) > 4 * 1048576 THEN
        content := '{}';
        error := 'the row is too large';
    END IF;
END $$;
COMMENT ON FUNCTION careful_row_json IS 'A row as JSON, column by column, without what is too large or has no JSON.';

CREATE FUNCTION fits(row_count bigint, small_rows bigint, bytes bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$ SELECT row_count = small_rows AND row_count <= 500 AND coalesce(bytes, 0) <= 1048576 $$;
COMMENT ON FUNCTION fits IS 'Whether the rows of a statement make one record.';

CREATE FUNCTION capture_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET exit_on_error = off
    -- After a statement of many rows PostgreSQL would plan for each row anew, as long as the session lives.
    SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    works text;
    row_count integer;
    old_rows text;
    new_rows text;
    note jsonb;
    kept bigint;
BEGIN
    -- The short way goes here.
    works := current_setting('hark.capture_works', true);
    <<reading>>
    BEGIN
        -- First the rows: in one go if they are few and small, as most are. This block does not write. In an UPDATE rows
        -- before and after pair by position: both tables are read in the order of the changes.
        BEGIN
            IF TG_LEVEL = 'ROW' THEN
                IF coalesce(pg_column_size(OLD.*), 0) + coalesce(pg_column_size(NEW.*), 0) <= 8192 THEN
                    old_rows := '[' || row_to_json(OLD.*)::text || ']';
                    new_rows := '[' || row_to_json(NEW.*)::text || ']';
                    row_count := 1;
                END IF;
            ELSIF TG_OP = 'INSERT' THEN
                SELECT CASE WHEN hark.fits(count(*), count(r.json), sum(octet_length(r.json))) THEN count(*) END,
                       '[' || string_agg(r.json, ',') || ']' INTO row_count, new_rows
                FROM (SELECT CASE WHEN pg_column_size(hark_new.*) <= 8192 THEN row_to_json(hark_new.*)::text END AS json
                      FROM hark_new LIMIT 501) AS r;
            ELSIF TG_OP = 'UPDATE' THEN
                SELECT CASE WHEN a.row_count = b.row_count AND a.fits AND b.fits THEN a.row_count END, b.rows, a.rows
                INTO row_count, old_rows, new_rows
                FROM (SELECT count(*) AS row_count, hark.fits(count(*), count(r.json), sum(octet_length(r.json))) AS fits,
                             '[' || string_agg(r.json, ',') || ']' AS rows
                      FROM (SELECT CASE WHEN pg_column_size(hark_old.*) <= 8192 THEN row_to_json(hark_old.*)::text END AS json
                            FROM hark_old LIMIT 501) AS r) AS b,
                     (SELECT count(*) AS row_count, hark.fits(count(*), count(r.json), sum(octet_length(r.json))) AS fits,
                             '[' || string_agg(r.json, ',') || ']' AS rows
                      FROM (SELECT CASE WHEN pg_column_size(hark_new.*) <= 8192 THEN row_to_json(hark_new.*)::text END AS json
                            FROM hark_new LIMIT 501) AS r) AS a;
            ELSIF TG_OP = 'DELETE' THEN
                SELECT CASE WHEN hark.fits(count(*), count(r.json), sum(octet_length(r.json))) THEN count(*) END,
                       '[' || string_agg(r.json, ',') || ']' INTO row_count, old_rows
                FROM (SELECT CASE WHEN pg_column_size(hark_old.*) <= 8192 THEN row_to_json(hark_old.*)::text END AS json
                      FROM hark_old LIMIT 501) AS r;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            row_count := NULL;
        END;
        IF row_count = 0 THEN
            EXIT reading;
        ELSIF row_count IS NOT NULL THEN
            NULL;
        ELSIF TG_OP = 'TRUNCATE' THEN
            row_count := 0;
            -- TRUNCATE of the whole fires on every partition too, on the whole first.
            IF TG_ARGV[1] <> 'partition' THEN
                PERFORM set_config('hark.truncated', TG_ARGV[0] || ' ' || statement_timestamp(), true);
            ELSIF current_setting('hark.truncated', true) = TG_ARGV[0] || ' ' || statement_timestamp() THEN
                EXIT reading;
            ELSE
                note := jsonb_build_object('partition', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
            END IF;
        ELSE
            <<large>>
            DECLARE
                largest constant integer := 1048576;
                has_old constant boolean := TG_OP <> 'INSERT';
                has_new constant boolean := TG_OP <> 'DELETE';
                careful boolean;
                old_reader refcursor;
                new_reader refcursor;
                old_json text;
                new_json text;
                old_left_out text[];
                new_left_out text[];
                old_error text;
                new_error text;
                got_old boolean := false;
                got_new boolean := false;
                old_array text[];
                new_array text[];
                part integer;
                in_part integer;
                bytes integer;
                total bigint;
                first_id bigint;
                missing text[];
                problem text;
            BEGIN
                -- Row by row, in parts. Should a row be too large, or have no JSON, once more, and column by column.
                FOREACH careful IN ARRAY ARRAY[false, true] LOOP
                    part := 0;
                    in_part := 0;
                    bytes := 0;
                    total := 0;
                    old_array := CASE WHEN has_old THEN '{}'::text[] END;
                    new_array := CASE WHEN has_new THEN '{}'::text[] END;
                    missing := NULL;
                    problem := NULL;
                    BEGIN
                        IF TG_LEVEL = 'STATEMENT' AND has_old THEN
                            IF careful THEN
                                OPEN old_reader FOR EXECUTE format(
                                    'SELECT c.content, c.left_out, c.error FROM hark_old, '
                                    'LATERAL hark.careful_row_json($1, ROW(hark_old.*)::%s) AS c', TG_RELID::regclass)
                                    USING TG_RELID;
                            ELSE
                                OPEN old_reader FOR SELECT CASE WHEN pg_column_size(hark_old.*) <= largest
                                    THEN row_to_json(hark_old.*)::text END, NULL::text[], NULL::text FROM hark_old;
                            END IF;
                        END IF;
                        IF TG_LEVEL = 'STATEMENT' AND has_new THEN
                            IF careful THEN
                                OPEN new_reader FOR EXECUTE format(
                                    'SELECT c.content, c.left_out, c.error FROM hark_new, '
                                    'LATERAL hark.careful_row_json($1, ROW(hark_new.*)::%s) AS c', TG_RELID::regclass)
                                    USING TG_RELID;
                            ELSE
                                OPEN new_reader FOR SELECT CASE WHEN pg_column_size(hark_new.*) <= largest
                                    THEN row_to_json(hark_new.*)::text END, NULL::text[], NULL::text FROM hark_new;
                            END IF;
                        END IF;
                        LOOP
                            IF TG_LEVEL = 'STATEMENT' THEN
                                IF has_old THEN
                                    FETCH old_reader INTO old_json, old_left_out, old_error;
                                    got_old := FOUND;
                                END IF;
                                IF has_new THEN
                                    FETCH new_reader INTO new_json, new_left_out, new_error;
                                    got_new := FOUND;
                                END IF;
                                EXIT WHEN NOT (got_old OR got_new);
                            ELSE
                                EXIT WHEN total = 1;
                                got_old := has_old;
                                got_new := has_new;
                                IF has_old AND careful THEN
                                    SELECT c.content, c.left_out, c.error INTO old_json, old_left_out, old_error
                                    FROM hark.careful_row_json(TG_RELID, OLD) AS c;
                                ELSIF has_old AND pg_column_size(OLD.*) <= largest THEN
                                    old_json := row_to_json(OLD.*)::text;
                                END IF;
                                IF has_new AND careful THEN
                                    SELECT c.content, c.left_out, c.error INTO new_json, new_left_out, new_error
                                    FROM hark.careful_row_json(TG_RELID, NEW) AS c;
                                ELSIF has_new AND pg_column_size(NEW.*) <= largest THEN
                                    new_json := row_to_json(NEW.*)::text;
                                END IF;
                            END IF;
                            IF NOT careful AND ((got_old AND coalesce(octet_length(old_json) > largest, true))
                                                OR (got_new AND coalesce(octet_length(new_json) > largest, true))) THEN
                                RAISE EXCEPTION 'a row is too large to be taken as a whole';
                            END IF;
                            total := total + 1;
                            in_part := in_part + 1;
                            IF has_old THEN
                                old_array := array_append(old_array, CASE WHEN got_old THEN old_json ELSE 'null' END);
                                bytes := bytes + coalesce(octet_length(old_json), 0);
                            END IF;
                            IF has_new THEN
                                new_array := array_append(new_array, CASE WHEN got_new THEN new_json ELSE 'null' END);
                                bytes := bytes + coalesce(octet_length(new_json), 0);
                            END IF;
                            IF careful THEN
                                missing := missing || old_left_out || new_left_out;
                                problem := coalesce(new_error, old_error, problem);
                            END IF;
                            IF has_old AND has_new AND got_old <> got_new THEN
                                problem := 'rows before and after do not pair: a trigger suppressed some of them';
                            END IF;
                            IF in_part = 500 OR bytes >= largest THEN
                                kept := hark.keep_row_change(
                                    TG_ARGV[0]::integer, lower(TG_OP), in_part, '[' || array_to_string(old_array, ',') || ']',
                                    '[' || array_to_string(new_array, ',') || ']',
                                    jsonb_strip_nulls(jsonb_build_object(
                                        'part', part, 'left_out', missing, 'error', left(problem, 1000))));
                                first_id := CASE WHEN part = 0 THEN kept ELSE first_id END;
                                part := part + 1;
                                in_part := 0;
                                bytes := 0;
                                old_array := CASE WHEN has_old THEN '{}'::text[] END;
                                new_array := CASE WHEN has_new THEN '{}'::text[] END;
                                IF TG_ARGV[1] = 'statement' THEN
                                    -- Nobody wants an event per row, and one per statement shows no more than these.
                                    IF has_new THEN
                                        SELECT count(*) INTO total FROM hark_new;
                                    ELSE
                                        SELECT count(*) INTO total FROM hark_old;
                                    END IF;
                                    EXIT;
                                END IF;
                            END IF;
                        END LOOP;
                        -- An open cursor would stay until the end of the writer's transaction.
                        IF TG_LEVEL = 'STATEMENT' AND has_old THEN
                            CLOSE old_reader;
                        END IF;
                        IF TG_LEVEL = 'STATEMENT' AND has_new THEN
                            CLOSE new_reader;
                        END IF;
                        IF part > 0 THEN
                            UPDATE hark.row_changes AS c SET note = c.note || jsonb_build_object('statement_rows', total)
                            WHERE c.id = first_id;
                        END IF;
                        EXIT;
                    EXCEPTION WHEN OTHERS THEN
                        problem := SQLERRM;
                        part := 0;
                        in_part := 0;
                        old_array := NULL;
                        new_array := NULL;
                    END;
                END LOOP;
                IF in_part = 0 AND problem IS NULL THEN
                    EXIT reading;
                END IF;
                row_count := in_part;
                old_rows := '[' || array_to_string(old_array, ',') || ']';
                new_rows := '[' || array_to_string(new_array, ',') || ']';
                note := jsonb_strip_nulls(jsonb_build_object(
                    'part', part, 'left_out', missing, 'error', left(problem, 1000)));
            END large;
        END IF;
        -- Then the record. Once a transaction has written to the outbox it holds the lock that keeps all others from changing
        -- it, and what worked works: from then on no block is needed, nor its transaction id.
        IF works = 'yes' THEN
            kept := hark.keep_row_change(TG_ARGV[0]::integer, lower(TG_OP), row_count, old_rows, new_rows, note);
        ELSE
            BEGIN
                kept := hark.keep_row_change(TG_ARGV[0]::integer, lower(TG_OP), row_count, old_rows, new_rows, note);
                works := set_config('hark.capture_works', 'yes', true);
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'Hark could not capture a change of %.%: %', TG_TABLE_SCHEMA, TG_TABLE_NAME, SQLERRM;
            END;
        END IF;
    END reading;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION capture_change IS
    'The trigger on the users'' tables: for each statement (with hark_old and hark_new), for each row, or for TRUNCATE. '
    'Arguments: the watch, the mode (row; statement: the first rows of a statement suffice; partition: TRUNCATE of one), '
    'and a fingerprint of how it was made. TRUNCATE calls this one itself, everything else one of those that have the short '
    'way too.';

-- One small row goes the short way: from the trigger into the record with one statement, and as few expressions besides as
-- can be, for in a transaction of one row each is read anew. So every kind of change has a function of its own: the text of
-- the long way, with the short one before it.
DO $do$
DECLARE
    long_way constant text := pg_get_functiondef('hark.capture_change'::regproc);
    -- A block with EXCEPTION that writes takes a transaction id of its own, and thousands of them in one transaction slow
    -- down everybody's snapshots. So the first records of a transaction are written in one. From then on what worked works:
    -- the transaction holds the lock on the outbox that keeps all others from changing it. A transaction that has taken
    -- longer than one row does goes the short way once more; a setting says that it has.
    short_way constant text := $short$
    <<short>>
    DECLARE
        quiet boolean;
    BEGIN
        IF clock_timestamp() > current_timestamp + interval '0.5 ms' THEN
            EXIT short WHEN current_setting('hark.capture_works', true) <> '';
            works := set_config('hark.capture_works', 'short', true);
        END IF;
        BEGIN
            -- A second row is an error by itself. A row that is too large is none, and quiet unknown.
            INSERT INTO hark.row_changes (watch_id, operation, row_count, %1$s, note)
            SELECT %2$s.tg_argv[0]::integer, %3$s, 1, %4$s,
                   CASE WHEN concat(current_setting('hark.actor', true), current_setting('hark.reason', true),
                                    current_setting('hark.depth', true)) <> '' THEN hark.capture_note(NULL) END
            %5$s
            RETURNING CASE WHEN %6$s THEN pg_sequence_last_value('hark.capture_wakeups') IS DISTINCT FROM 1 END INTO quiet;
            -- What a trigger of statements has as NEW is NULL, and so said it costs no expression.
            IF quiet THEN
                RETURN NEW;
            ELSIF NOT quiet THEN
                -- A full queue would fail the writer's commit; the instances look by themselves too.
                IF pg_notification_queue_usage() < 0.5 THEN
                    PERFORM pg_notify('hark_rows', '');
                END IF;
                RETURN NEW;
            END IF;
            IF NOT FOUND THEN
                %7$s;
            END IF;
            RAISE 'the long way takes what is in the record by now';
        EXCEPTION WHEN OTHERS THEN
            NULL;  -- the long way says what is wrong
        END;
    END short;$short$;
    json constant text := 'CASE WHEN pg_column_size(%1$s.*) <= 8192 THEN json_build_array(%1$s.*)::text END';
    before constant text := format(json, 'hark_old');
    after constant text := format(json, 'hark_new');
    way record;
    suffix text;
BEGIN
    FOR way IN SELECT * FROM (VALUES
        ('capture_insert', '''insert''', 'new_rows', after, 'FROM hark_new', 'row_changes.new_rows IS NOT NULL',
         'RETURN NEW'),
        ('capture_update', '''update''', 'old_rows, new_rows', before || ', ' || after, 'FROM hark_old, hark_new',
         'row_changes.old_rows IS NOT NULL AND row_changes.new_rows IS NOT NULL',
         'EXIT short WHEN EXISTS (SELECT FROM hark_old) OR EXISTS (SELECT FROM hark_new); RETURN NEW'),
        ('capture_delete', '''delete''', 'old_rows', before, 'FROM hark_old', 'row_changes.old_rows IS NOT NULL',
         'RETURN NEW'),
        ('capture_row', 'lower(TG_OP)', 'old_rows, new_rows',
         'CASE WHEN TG_OP <> ''INSERT'' THEN json_build_array(OLD.*)::text END, '
         'CASE WHEN TG_OP <> ''DELETE'' THEN json_build_array(NEW.*)::text END',
         'WHERE coalesce(pg_column_size(OLD.*), 0) + coalesce(pg_column_size(NEW.*), 0) <= 8192', 'true',
         'EXIT short')
    ) AS v (name, operation, columns, contents, source, small, none) LOOP
        FOREACH suffix IN ARRAY ARRAY['', '_formatted'] LOOP
            EXECUTE replace(
                replace(long_way, 'FUNCTION hark.capture_change()', format('FUNCTION hark.%I()', way.name || suffix)),
                '-- The short way goes here.', format(
                    short_way, way.columns, way.name || suffix, way.operation, way.contents, way.source, way.small, way.none));
        END LOOP;
        EXECUTE format('ALTER FUNCTION hark.%I() SET datestyle = ''ISO'' SET intervalstyle = ''iso_8601'' '
                       'SET bytea_output = ''hex'' SET extra_float_digits = 1', way.name || '_formatted');
    END LOOP;
END $do$;

-- These are called by the daemon.

CREATE FUNCTION drop_key_sets(relation oid, operation text, kept text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT p.proname FROM pg_proc AS p
        WHERE p.pronamespace = 'hark'::regnamespace AND p.proname ^@ format('wants_%s_%s_', relation, lower(operation))
          AND p.proname <> ALL (kept)
    LOOP
        EXECUTE format('DROP FUNCTION hark.%I(text)', name);
    END LOOP;
END $$;
COMMENT ON FUNCTION drop_key_sets IS 'Takes away the sets of a row trigger, but for some.';

CREATE FUNCTION sweep_key_sets() RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
    swept integer := 0;
BEGIN
    FOR name IN
        SELECT p.proname FROM pg_proc AS p
        WHERE p.pronamespace = 'hark'::regnamespace AND p.proname ^@ 'wants_'
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
                          AND d.classid = 'pg_trigger'::regclass)
    LOOP
        EXECUTE format('DROP FUNCTION hark.%I(text)', name);
        swept := swept + 1;
    END LOOP;
    RETURN swept;
END $$;
COMMENT ON FUNCTION sweep_key_sets IS 'Takes away the sets whose triggers went with their tables; returns how many.';

CREATE FUNCTION place_capture(relation oid, trigger_name text, operation text, level text, condition text,
                              arguments text[], set_names text[] DEFAULT '{}', set_contents text[] DEFAULT '{}',
                              function_name text DEFAULT 'capture_change')
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- In PL/pgSQL: what a session has read of it once it keeps, where the WHEN of a trigger is read for every statement.
    FOR i IN 1 .. cardinality(set_names) LOOP
        EXECUTE format(
            'CREATE OR REPLACE FUNCTION hark.%I(value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT AS %L',
            set_names[i], format(
                'BEGIN RETURN pg_catalog.octet_length(value) OPERATOR(pg_catalog.<=) 200 '
                'AND %L::pg_catalog.jsonb OPERATOR(pg_catalog.?) value; END', set_contents[i]));
        -- The writer calls it, whoever that is.
        EXECUTE format('GRANT EXECUTE ON FUNCTION hark.%I(text) TO PUBLIC', set_names[i]);
    END LOOP;
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER %I AFTER %s ON %s %s FOR EACH %s %s EXECUTE FUNCTION hark.%I(%s)',
        trigger_name, operation, relation::regclass,
        CASE WHEN level = 'ROW' OR operation = 'TRUNCATE' THEN '' ELSE
            'REFERENCING ' || concat_ws(' ', CASE WHEN operation <> 'INSERT' THEN 'OLD TABLE AS hark_old' END,
                                        CASE WHEN operation <> 'DELETE' THEN 'NEW TABLE AS hark_new' END) END,
        level, 'WHEN (' || condition || ')', function_name,
        (SELECT string_agg(quote_literal(a), ', ') FROM unnest(arguments) AS a));
    IF level = 'ROW' THEN
        PERFORM hark.drop_key_sets(relation, operation, set_names);
    END IF;
END $$;
COMMENT ON FUNCTION place_capture IS
    'Makes or replaces one trigger, with the sets that its condition looks into: functions wants_*, each of which tells '
    'whether a JSON object has a key. The condition is SQL and comes from the daemon alone.';

CREATE FUNCTION remove_capture(relation oid, trigger_name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    BEGIN
        IF EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = relation AND t.tgname = trigger_name) THEN
            EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, relation::regclass);
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        -- Only a table's owner may drop its triggers; who may create them can make one that never fires.
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON %s FOR EACH ROW WHEN (false) '
                       'EXECUTE FUNCTION hark.capture_change(''0'', ''off'', ''off'')', trigger_name, relation::regclass);
    END;
    IF trigger_name LIKE '%\_row' THEN
        PERFORM hark.drop_key_sets(relation, substring(trigger_name FROM 'hark_capture_(.*)_row'), '{}');
    END IF;
END $$;
COMMENT ON FUNCTION remove_capture IS 'Takes one trigger off a table, or makes it one that never fires; its sets go with it.';

-- A trigger's function runs with the rights of its owner: nobody else may put it on a table and write into the outbox.
REVOKE ALL ON FUNCTION capture_note, keep_row_change, fits, careful_row_json, capture_change, capture_insert,
    capture_update, capture_delete, capture_row, capture_insert_formatted, capture_update_formatted, capture_delete_formatted,
    capture_row_formatted, drop_key_sets, sweep_key_sets, place_capture, remove_capture FROM PUBLIC;

-- ---------------------------------------------------------------------------------------------- other databases

CREATE TABLE remotes (
    connection  text PRIMARY KEY,
    outbox      uuid NOT NULL,
    since       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE remotes IS
    'Named connections on whose databases triggers of ours may be; one goes when they have been taken off and the outbox there '
    'is empty. So an instance that starts later knows where something is left to do.';

CREATE TABLE moved_changes (
    outbox       uuid NOT NULL,
    change_id    bigint NOT NULL,
    occurred_at  timestamptz NOT NULL,
    PRIMARY KEY (outbox, change_id, occurred_at)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = -1);
COMMENT ON TABLE moved_changes IS
    'Row changes of other databases whose events are stored here, and which may still be in the outbox there: the two commits '
    'are not one. A record goes when the outbox is known to have let go of its change. occurred_at is part of what names a '
    'change: a database that is restored from a backup gives out the same ids again.';

-- ---------------------------------------------------------------------------------------------- partitions

CREATE FUNCTION history_tables() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
    RETURN ARRAY['events', 'event_decisions', 'workflow_executions', 'workflow_steps', 'workflow_timeline',
                 'workflow_logs', 'workflow_context', 'waits', 'execution_events'];
COMMENT ON FUNCTION history_tables IS 'The tables that are partitioned by week.';

CREATE FUNCTION create_history_partitions(parent text, until timestamptz DEFAULT now() + interval '3 weeks')
    RETURNS integer LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    week timestamptz := date_trunc('week', now(), 'UTC');
    first text := format('%s_oldest', parent);
    part text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7020852);
    -- Made apart and then attached: CREATE TABLE … PARTITION OF would lock out every writer of the parent.
    IF to_regclass(format('hark.%I', first)) IS NULL THEN
        PERFORM attach_partition(parent, first, NULL, week);
        made := made + 1;
    END IF;
    WHILE week < until LOOP
        part := format('%s_%s', parent, to_char(week AT TIME ZONE 'UTC', 'IYYY"w"IW'));
        IF to_regclass(format('hark.%I', part)) IS NULL THEN
            PERFORM attach_partition(parent, part, week, week + interval '7 days');
            made := made + 1;
        END IF;
        week := week + interval '7 days';
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION create_history_partitions IS
    'Makes the weekly partitions of one history table that are missing up to a moment; returns how many. The daemon calls it '
    'at start and every ten minutes.';

CREATE FUNCTION attach_partition(parent text, part text, since timestamptz, until timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TABLE hark.%I (LIKE hark.%I INCLUDING ALL)%s', part, parent,
                   CASE WHEN parent IN ('workflow_executions', 'workflow_steps') THEN ' WITH (fillfactor = 75)' ELSE '' END);
    EXECUTE format('ALTER TABLE hark.%I ATTACH PARTITION hark.%I FOR VALUES FROM (%s) TO (%L)', parent, part,
                   coalesce(quote_literal(id_floor(since)), 'MINVALUE'), id_floor(until));
END $$;
COMMENT ON FUNCTION attach_partition IS 'Makes one partition of a history table, for the ids of a span of time.';

DO $$
BEGIN
    PERFORM hark.create_history_partitions(parent) FROM unnest(hark.history_tables()) AS parent;
END $$;

-- ---------------------------------------------------------------------------------------------- deletion

CREATE FUNCTION erase_executions(tenant uuid, ids uuid[]) RETURNS void
    LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM workflow_steps WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_timeline WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_logs WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_context WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM execution_events WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM waits WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM event_waits WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM event_hits WHERE tenant_id = tenant AND execution_id = ANY (ids);
    DELETE FROM workflow_executions WHERE tenant_id = tenant AND id = ANY (ids);
END;
COMMENT ON FUNCTION erase_executions IS 'Deletes executions with everything that belongs to them.';

CREATE FUNCTION erase_workflow_history() RETURNS trigger LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
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

-- ---------------------------------------------------------------------------------------------- retention

CREATE FUNCTION retention_of(usual interval, failed interval)
    RETURNS TABLE (tenant_id uuid, kept_since timestamptz, failed_since timestamptz)
    LANGUAGE sql STABLE  -- without a search_path of its own it is inlined, as is the next
BEGIN ATOMIC
    SELECT t.id, now() - coalesce(t.retention, usual),
           now() - greatest(coalesce(t.retention, usual), coalesce(t.failed_retention, failed))
    FROM tenants AS t;
END;
COMMENT ON FUNCTION retention_of IS
    'Each tenant''s policy, given that of the settings: what has ended since then stays. Of failures the longer one holds.';

CREATE FUNCTION own_retention(usual interval, failed interval)
    RETURNS TABLE (tenant_id uuid, workflow_id uuid, kept_since timestamptz, failed_since timestamptz, most integer)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT w.tenant_id, w.id, now() - coalesce(v.retention, t.retention, usual),
           now() - greatest(coalesce(v.retention, t.retention, usual), coalesce(v.failed_retention, t.failed_retention, failed)),
           v.kept_count
    FROM workflow_versions AS v
    JOIN workflows AS w ON w.tenant_id = v.tenant_id AND w.id = v.workflow_id AND w.published_version = v.version
    JOIN tenants AS t ON t.id = v.tenant_id
    WHERE v.retention IS NOT NULL OR v.failed_retention IS NOT NULL OR v.kept_count IS NOT NULL;
END;
COMMENT ON FUNCTION own_retention IS
    'The policies of workflows that have one of their own; what one does not say is as the tenant or the settings have it.';

CREATE FUNCTION is_past(status text, completed_at timestamptz, kept_until timestamptz, kept_since timestamptz,
                        failed_since timestamptz)
    RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE  -- without a search_path of its own it is inlined
    RETURN coalesce(completed_at < CASE WHEN status IN ('failed', 'timeout') THEN failed_since ELSE kept_since END
                    AND (kept_until IS NULL OR kept_until < now()), false);
COMMENT ON FUNCTION is_past IS 'Whether an execution ended so long ago that its policy lets it go; never while it is open.';

CREATE FUNCTION prune_open(usual interval, failed interval, tenant uuid, state text, after_id uuid, most integer)
    RETURNS TABLE (lines bigint, next_after uuid) LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    -- From the few that are open to what they have, by key, whatever statistics say.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    usually uuid;
    latest uuid;
    ids uuid[];
    sinces uuid[];
    logged bigint;
    noted bigint;
BEGIN
    SELECT id_floor(r.kept_since),
           id_floor(greatest(r.kept_since, (SELECT max(o.kept_since) FROM own_retention(usual, failed) AS o WHERE o.tenant_id = tenant)))
    INTO usually, latest
    FROM retention_of(usual, failed) AS r WHERE r.tenant_id = tenant;
    -- One status at a time: the index then gives them in order, however many there are.
    SELECT array_agg(s.id ORDER BY s.id), array_agg(coalesce(o.since, usually) ORDER BY s.id) INTO ids, sinces
    FROM (SELECT e.id, e.workflow_id FROM workflow_executions AS e
          WHERE e.tenant_id = tenant AND e.status = state AND e.status <> 'completed' AND e.id > after_id AND e.id < latest
          ORDER BY e.id LIMIT most) AS s
    LEFT JOIN (SELECT p.workflow_id, id_floor(p.kept_since) AS since
               FROM own_retention(usual, failed) AS p WHERE p.tenant_id = tenant) AS o ON o.workflow_id = s.workflow_id;
    DELETE FROM workflow_logs AS d
    USING (SELECT g.execution_id, x.id
           FROM unnest(ids, sinces) AS g (execution_id, since) CROSS JOIN LATERAL (
               SELECT l.id FROM workflow_logs AS l
               WHERE l.tenant_id = tenant AND l.execution_id = g.execution_id AND l.id < g.since ORDER BY l.id LIMIT most) AS x
           LIMIT most) AS old
    WHERE d.tenant_id = tenant AND d.execution_id = old.execution_id AND d.id = old.id;
    GET DIAGNOSTICS logged = ROW_COUNT;
    -- What tells of the execution as a whole stays.
    DELETE FROM workflow_timeline AS d
    USING (SELECT g.execution_id, x.id
           FROM unnest(ids, sinces) AS g (execution_id, since) CROSS JOIN LATERAL (
               SELECT l.id FROM workflow_timeline AS l
               WHERE l.tenant_id = tenant AND l.execution_id = g.execution_id AND l.id < g.since AND l.path IS NOT NULL
               ORDER BY l.id LIMIT most) AS x
           LIMIT most) AS old
    WHERE d.tenant_id = tenant AND d.execution_id = old.execution_id AND d.id = old.id;
    GET DIAGNOSTICS noted = ROW_COUNT;
    lines := logged + noted;
    next_after := CASE WHEN logged >= most OR noted >= most THEN after_id
                       WHEN cardinality(ids) >= most THEN ids[cardinality(ids)] END;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION prune_open IS
    'Deletes what a slice of a tenant''s open executions, in one status, has in log lines and entries about steps from before '
    'the policy for ended ones: without it what runs for years would keep all of them. Returns how many, and behind which '
    'execution to go on: the same when there was more to delete, NULL behind the last slice.';

CREATE FUNCTION is_awaited(tenant uuid, parent uuid, step_path text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    turn CONSTANT text := '\[\d+\](?=\.|$)';
    ended boolean;
    loop_path text;
    at integer;
BEGIN
    PERFORM FROM workflow_executions AS p WHERE p.tenant_id = tenant AND p.id = parent AND p.completed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT s.completed_at IS NOT NULL INTO ended
    FROM workflow_steps AS s WHERE s.tenant_id = tenant AND s.execution_id = parent AND s.path = step_path;
    IF FOUND THEN
        RETURN NOT ended;
    END IF;
    -- Not on record yet, or folded away with one of the turns around it.
    FOR number IN 1 .. regexp_count(step_path, turn) LOOP
        at := regexp_instr(step_path, turn, 1, number);
        loop_path := left(step_path, at - 1);
        PERFORM FROM workflow_steps AS s, jsonb_array_elements(s.output -> 'turns') AS folded
        WHERE s.tenant_id = tenant AND s.execution_id = parent AND s.path > loop_path || '[' AND s.path < loop_path || '\'
          AND s.verb = 'fold'
          AND substring(step_path FROM at + 1 FOR strpos(substring(step_path FROM at + 1), ']') - 1)::integer
              BETWEEN (folded ->> 0)::integer AND (folded ->> 1)::integer;
        IF FOUND THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;
COMMENT ON FUNCTION is_awaited IS
    'Whether an open execution has not on record how the step ended that made a child: until then the child stays.';

CREATE FUNCTION week_start(week text) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
    RETURN to_date(week, 'IYYY"w"IW')::timestamp AT TIME ZONE 'UTC';
COMMENT ON FUNCTION week_start IS 'The first moment of a week as partitions are named by it, such as 2026w07.';

CREATE FUNCTION oldest_week() RETURNS text LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT min(right(c.relname::text, 7)) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'hark.workflow_executions'::regclass AND c.relname ~ '_[0-9]{4}w[0-9]{2}$';
END;
COMMENT ON FUNCTION oldest_week IS 'The oldest week with partitions of its own; what is older lies in the open-ended ones.';

CREATE FUNCTION past_week(usual interval) RETURNS text LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
    RETURN (SELECT w.week FROM oldest_week() AS w (week)
            WHERE week_start(w.week) + interval '7 days'
                  <= (SELECT min(r.kept_since) FROM retention_of(usual, usual) AS r));
COMMENT ON FUNCTION past_week IS
    'The oldest week, once it is past for every tenant; failures, what workflows keep longer and what is open move out of it.';

CREATE FUNCTION retention_lag(usual interval) RETURNS double precision
    LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
    RETURN (SELECT coalesce(greatest(extract(epoch FROM min(r.kept_since) - week_start(oldest_week()) - interval '7 days'), 0), 0)
            FROM retention_of(usual, usual) AS r);
COMMENT ON FUNCTION retention_lag IS 'For how many seconds the oldest week could have been dropped; 0 while none is past.';

-- A week goes in three stages. prepare_week marks it; from then on what is stored in it late notes itself. Slice by slice,
-- note_staying finds what has to stay, while everybody works. retire_week then has to lock everybody out only for as long as
-- it takes to move that.

CREATE TABLE staying (
    tenant_id     uuid NOT NULL,
    execution_id  uuid NOT NULL,
    PRIMARY KEY (tenant_id, execution_id)
);
COMMENT ON TABLE staying IS
    'What has to stay of the week that is about to go: found slice by slice, and what is stored there meanwhile. Never too '
    'little: what has ended since it was noted stays all the same.';

CREATE FUNCTION note_late() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO staying (tenant_id, execution_id) VALUES (NEW.tenant_id, NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION note_late IS 'Notes what is stored in a week that is about to go: a late retry or part.';
REVOKE ALL ON FUNCTION note_late FROM PUBLIC;

CREATE FUNCTION id_column(parent text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
    RETURN CASE WHEN parent IN ('events', 'workflow_executions') THEN 'id'
                WHEN parent = 'event_decisions' THEN 'event_id' ELSE 'execution_id' END;
COMMENT ON FUNCTION id_column IS 'The column by which a history table is partitioned.';

CREATE FUNCTION prepare_week(usual interval) RETURNS text
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    week text := past_week(usual);
    part text := 'workflow_executions_' || week;
    parent text;
BEGIN
    IF week IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = part::regclass AND t.tgname = 'late_ones_stay') THEN
        EXECUTE format('CREATE TRIGGER late_ones_stay AFTER INSERT ON %I FOR EACH ROW EXECUTE FUNCTION note_late()', part);
        DELETE FROM staying;
        -- What is attached with a wider range is read through unless a constraint says that all of it is inside.
        FOREACH parent IN ARRAY history_tables() LOOP
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS before_next_week', parent || '_oldest');
            EXECUTE format('ALTER TABLE %I ADD CONSTRAINT before_next_week CHECK (%I < %L) NOT VALID', parent || '_oldest',
                           id_column(parent), id_floor(week_start(week) + interval '7 days'));
        END LOOP;
    END IF;
    RETURN week;
END $$;
COMMENT ON FUNCTION prepare_week IS
    'Marks the oldest week if it is past, and names it; NULL if none is. Idempotent. Fails after 200 ms without its locks, '
    'which are on that week and on what is older.';

CREATE FUNCTION validate_oldest(parent text) RETURNS void LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT before_next_week', parent || '_oldest');
END $$;
COMMENT ON FUNCTION validate_oldest IS 'Makes known that the oldest partition fits its coming range; nobody is locked out.';

CREATE FUNCTION note_needed(week text) RETURNS bigint LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    -- Open ones are few, whatever there is: they have an index of their own.
    WITH noted AS (
        INSERT INTO staying (tenant_id, execution_id)
        SELECT DISTINCT c.tenant_id, c.parent_id
        FROM tenants AS t
        JOIN workflow_executions AS c
            ON c.tenant_id = t.id AND c.status IN ('pending', 'running', 'waiting') AND c.status <> 'completed'
        WHERE c.parent_id >= id_floor(week_start(week)) AND c.parent_id < id_floor(week_start(week) + interval '7 days')
        ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM noted;
END;
COMMENT ON FUNCTION note_needed IS 'Notes what open executions are children of.';

CREATE FUNCTION note_staying(week text, usual interval, failed interval, after_tenant uuid, after_id uuid, most integer,
                             OUT last_tenant uuid, OUT last_id uuid, OUT seen bigint)
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    EXECUTE format(
        'WITH slice AS MATERIALIZED ('
        '    SELECT e.tenant_id, e.id, e.workflow_id, e.status, e.completed_at, e.kept_until, e.parent_id, e.parent_path '
        '    FROM %I AS e '
        '    WHERE (e.tenant_id, e.id) > ($3, $4) ORDER BY e.tenant_id, e.id LIMIT $5'
        '), noted AS ('
        '    INSERT INTO staying (tenant_id, execution_id) SELECT s.tenant_id, s.id FROM slice AS s '
        '    LEFT JOIN retention_of($1, $2) AS r ON r.tenant_id = s.tenant_id '
        '    LEFT JOIN own_retention($1, $2) AS o ON o.tenant_id = s.tenant_id AND o.workflow_id = s.workflow_id '
        '    WHERE NOT is_past(s.status, s.completed_at, s.kept_until, coalesce(o.kept_since, r.kept_since),'
        '                      coalesce(o.failed_since, r.failed_since)) '
        '    OR (s.parent_id IS NOT NULL AND is_awaited(s.tenant_id, s.parent_id, s.parent_path)) '
        '    ON CONFLICT DO NOTHING'
        ') SELECT s.tenant_id, s.id, (SELECT count(*) FROM slice) FROM slice AS s '
        'ORDER BY s.tenant_id DESC, s.id DESC LIMIT 1', 'workflow_executions_' || week)
    INTO last_tenant, last_id, seen USING usual, failed, after_tenant, after_id, most;
END $$;
COMMENT ON FUNCTION note_staying IS
    'Notes what has to stay of a slice of a week, and returns where the slice ends; NULL when it was the last.';

CREATE FUNCTION move_staying(week text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    -- From the few to the many: statistics may say otherwise, or nothing.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    parent text;
    moved bigint;
BEGIN
    FOREACH parent IN ARRAY history_tables() LOOP
        CONTINUE WHEN parent IN ('events', 'event_decisions');
        EXECUTE format('INSERT INTO %I SELECT p.* FROM staying AS s JOIN %I AS p ON p.tenant_id = s.tenant_id AND p.%I = '
                       's.execution_id', parent || '_oldest', parent || '_' || week, id_column(parent));
        IF parent = 'workflow_executions' THEN
            GET DIAGNOSTICS moved = ROW_COUNT;
        END IF;
    END LOOP;
    -- A batch is older than most of its events: one of an earlier week may name some of this.
    EXECUTE format('WITH kept AS (INSERT INTO events_oldest SELECT v.* FROM ('
                   'SELECT e.tenant_id, e.event_id FROM staying AS s JOIN workflow_executions_oldest AS e '
                   'ON e.tenant_id = s.tenant_id AND e.id = s.execution_id UNION '
                   'SELECT b.tenant_id, b.event_id FROM execution_events_oldest AS b WHERE b.event_id >= $1) AS named '
                   'JOIN %I AS v ON v.tenant_id = named.tenant_id AND v.id = named.event_id RETURNING tenant_id, id) '
                   'INSERT INTO event_decisions_oldest SELECT d.* FROM kept AS k JOIN %I AS d '
                   'ON d.tenant_id = k.tenant_id AND d.event_id = k.id', 'events_' || week, 'event_decisions_' || week)
        USING id_floor(week_start(week));
    RETURN moved;
END $$;
COMMENT ON FUNCTION move_staying IS
    'Copies what has to stay of a week, with everything of it, to the oldest partitions; how many executions. Rows go whole, '
    'whatever columns they have: partitions are made LIKE their table.';

CREATE FUNCTION retire_week(wanted text, usual interval, OUT moved bigint)
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    parent text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7020852) THEN
        RETURN;
    END IF;
    -- All of them before anything is read: nobody sees an execution without its steps, and no late retry slips in.
    FOREACH parent IN ARRAY history_tables() LOOP
        EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
    END LOOP;
    IF past_week(usual) IS DISTINCT FROM wanted THEN  -- somebody keeps it longer now, or was quicker
        RETURN;
    END IF;
    FOREACH parent IN ARRAY history_tables() LOOP
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, parent || '_oldest');
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, parent || '_' || wanted);
    END LOOP;
    moved := move_staying(wanted);
    FOREACH parent IN ARRAY history_tables() LOOP
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', parent,
                       parent || '_oldest', id_floor(week_start(wanted) + interval '7 days'));
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT before_next_week', parent || '_oldest');
        EXECUTE format('DROP TABLE %I', parent || '_' || wanted);
    END LOOP;
    DELETE FROM staying;
END $$;
COMMENT ON FUNCTION retire_week IS
    'Drops a week of all history tables that was prepared, in one transaction; what was noted moves to the oldest partitions. '
    'NULL when it is not to go any more or another instance is at it. Fails after 200 ms without its locks.';

CREATE FUNCTION choose_named(tenant uuid, ids uuid[]) RETURNS uuid[]
    LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
BEGIN ATOMIC
    -- The executions of an event carry its millisecond in their ids.
    SELECT coalesce(array_agg(v.id), '{}') FROM unnest(ids) AS v (id)
    WHERE EXISTS (SELECT FROM workflow_executions AS e WHERE e.tenant_id = tenant AND e.event_id = v.id
                  AND e.id BETWEEN first_beside(v.id) AND last_beside(v.id))
       OR EXISTS (SELECT FROM execution_events AS b WHERE b.tenant_id = tenant AND b.event_id = v.id);
END;
COMMENT ON FUNCTION choose_named IS 'Those of some events that have started an execution which is there, or are in a batch that is.';

CREATE FUNCTION erase_unnamed_events(tenant uuid, ids uuid[], unmatched interval) RETURNS void
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    named uuid[] := choose_named(tenant, ids);
    gone uuid[] := ARRAY(SELECT v.id FROM unnest(ids) AS v (id) WHERE v.id <> ALL (named));
BEGIN
    -- A step that waits may look back for it: as long as for an event that never started anything.
    UPDATE events AS v SET matched = false
    WHERE v.tenant_id = tenant AND v.id = ANY (gone) AND v.id >= id_floor(now() - unmatched);
    DELETE FROM event_decisions AS d
    WHERE d.tenant_id = tenant AND d.event_id = ANY (gone) AND d.event_id < id_floor(now() - unmatched);
    DELETE FROM events AS v WHERE v.tenant_id = tenant AND v.id = ANY (gone) AND v.id < id_floor(now() - unmatched);
END $$;
COMMENT ON FUNCTION erase_unnamed_events IS
    'Deletes those of some events that no execution names any more, with their decisions; recent ones only count as unmatched.';

CREATE FUNCTION retention_walks(usual interval, failed interval, crowded boolean)
    RETURNS TABLE (tenant_id uuid, workflow_id uuid, until uuid, whatever_age boolean)
    LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    WITH tenant AS MATERIALIZED (
        SELECT r.tenant_id,
               -- What goes with its week is not deleted row by row; only who keeps less than others has to.
               CASE WHEN crowded OR r.kept_since > min(r.kept_since) OVER () THEN id_floor(r.kept_since)
                    ELSE id_floor(week_start(oldest_week())) END AS until
        FROM retention_of(usual, failed) AS r
    ), own AS MATERIALIZED (SELECT * FROM own_retention(usual, failed))
    SELECT t.tenant_id, NULL::uuid, t.until, false FROM tenant AS t
    UNION ALL
    SELECT o.tenant_id, o.workflow_id, id_floor(o.kept_since), false
    FROM own AS o JOIN tenant AS t ON t.tenant_id = o.tenant_id WHERE id_floor(o.kept_since) > t.until
    UNION ALL
    SELECT o.tenant_id, o.workflow_id, cut.id, true
    FROM own AS o CROSS JOIN LATERAL (
        SELECT e.id FROM workflow_executions AS e
        WHERE e.workflow_id = o.workflow_id AND e.tenant_id = o.tenant_id AND e.completed_at IS NOT NULL
        ORDER BY e.id DESC OFFSET o.most - 1 LIMIT 1) AS cut
    WHERE o.most IS NOT NULL;
END;
COMMENT ON FUNCTION retention_walks IS
    'Where executions are past that do not go with their week: all of a tenant, or of a workflow with a policy of its own, that '
    'came before an event. whatever_age: all that have ended there, because only the newest ones stay.';

CREATE FUNCTION choose_past(tenant uuid, ids uuid[], usual interval, failed interval, whatever_age boolean)
    RETURNS uuid[] LANGUAGE sql STABLE
    -- From the few that are asked for, whatever statistics say.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
BEGIN ATOMIC
    SELECT coalesce(array_agg(e.id ORDER BY e.id), '{}')
    FROM workflow_executions AS e
    LEFT JOIN retention_of(usual, failed) AS r ON r.tenant_id = e.tenant_id
    LEFT JOIN own_retention(usual, failed) AS o ON o.tenant_id = e.tenant_id AND o.workflow_id = e.workflow_id
    WHERE e.tenant_id = tenant AND e.id = ANY (ids)
      AND is_past(e.status, e.completed_at, e.kept_until,
                  CASE WHEN whatever_age THEN 'infinity' ELSE coalesce(o.kept_since, r.kept_since) END,
                  CASE WHEN whatever_age THEN 'infinity' ELSE coalesce(o.failed_since, r.failed_since) END)
      AND (e.parent_id IS NULL OR NOT is_awaited(e.tenant_id, e.parent_id, e.parent_path))
      AND NOT EXISTS (
           SELECT FROM workflow_executions AS c
           WHERE c.tenant_id = e.tenant_id AND c.parent_id = e.id AND c.completed_at IS NULL);
END;
COMMENT ON FUNCTION choose_past IS
    'Those of some executions that their policy lets go and nothing open needs: neither what it was called by nor what it called.';

CREATE FUNCTION erase_ended(tenant uuid, ids uuid[], unmatched interval) RETURNS integer
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
DECLARE
    there uuid[];
    named uuid[];
BEGIN
    SELECT array_agg(p.id), array_agg(p.event_id) INTO there, named
    FROM (SELECT e.id, e.event_id FROM workflow_executions AS e
          WHERE e.tenant_id = tenant AND e.id = ANY (ids) AND e.completed_at IS NOT NULL
          ORDER BY e.id FOR UPDATE) AS p;
    IF there IS NULL THEN
        RETURN 0;
    END IF;
    named := named || ARRAY(SELECT b.event_id FROM execution_events AS b
                            WHERE b.tenant_id = tenant AND b.execution_id = ANY (there));
    PERFORM erase_executions(tenant, there);
    PERFORM erase_unnamed_events(tenant, named, unmatched);
    RETURN cardinality(there);
END $$;
COMMENT ON FUNCTION erase_ended IS
    'Deletes executions that have ended, with everything of them and the events that nothing else names; how many.';

-- ---------------------------------------------------------------------------------------------- archive

CREATE TABLE archives (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    id          uuid NOT NULL,
    location    text NOT NULL,
    name        text NOT NULL,
    week        text,
    begun_at    timestamptz NOT NULL DEFAULT now(),
    problem     text,
    sealed_at   timestamptz,
    first_id    uuid,
    last_id     uuid,
    executions  integer NOT NULL DEFAULT 0,
    steps       bigint NOT NULL DEFAULT 0,
    events      bigint NOT NULL DEFAULT 0,
    logs        bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    sha256      bytea,
    keys        integer[] NOT NULL DEFAULT '{}',
    dropped_at  timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT sealed_is_whole CHECK
        (sealed_at IS NULL OR (first_id IS NOT NULL AND last_id IS NOT NULL AND octet_length(sha256) = 32))
);
COMMENT ON TABLE archives IS
    'Files with executions that were let go, each of one tenant. There is a row before there is a file, and until after the '
    'file is gone: no file is forgotten.';
COMMENT ON COLUMN archives.location IS 'The archive that it lies in: a directory, or s3://bucket/prefix. Change it when files are moved.';
COMMENT ON COLUMN archives.name IS 'Its path in there; empty when it never came to be.';
COMMENT ON COLUMN archives.week IS 'The week that it is a part of; NULL when the executions went row by row.';
COMMENT ON COLUMN archives.problem IS 'Why it could not be written; then nothing was dropped.';
COMMENT ON COLUMN archives.sealed_at IS
    'When what is in it was dropped, in the same transaction; NULL: it is being written, or was given up and is removed next.';
COMMENT ON COLUMN archives.keys IS
    'archive_key of every subject and workflow in it, and of the executions that have called what is in it or published its '
    'events: which files an erasure has to look into.';
COMMENT ON COLUMN archives.dropped_at IS 'Another file has taken its place; it is removed next.';
CREATE INDEX archives_by_range ON archives (tenant_id, first_id) WHERE sealed_at IS NOT NULL AND dropped_at IS NULL;
COMMENT ON INDEX archives_by_range IS 'find_archives.sql: where an execution may be';
CREATE INDEX archives_by_key ON archives USING gin (keys) WHERE sealed_at IS NOT NULL AND dropped_at IS NULL;
COMMENT ON INDEX archives_by_key IS 'find_archives_by_key.sql';
CREATE INDEX archives_unsettled ON archives (begun_at) WHERE sealed_at IS NULL OR dropped_at IS NOT NULL;
COMMENT ON INDEX archives_unsettled IS 'list_unsettled_archives.sql: what is to be removed';

CREATE FUNCTION archive_key(kind text, id text) RETURNS integer  -- as archive_key in daemon/archive/lines.py
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
    RETURN ('x' || left(md5(kind || E'\n' || id), 8))::bit(32)::integer;
COMMENT ON FUNCTION archive_key IS 'What stands for a subject, a parent or a workflow in the index of the archive; two may share one.';

CREATE FUNCTION export_executions(tenant uuid, ids uuid[])
    RETURNS TABLE (id uuid, line text, keys integer[], steps bigint, events bigint, logs bigint)
    LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
BEGIN ATOMIC
    SELECT e.id,
           json_build_object(
               -- Without what it was handed sealed: nothing in the archive can be retried, and secrets end with the history.
               'execution', to_jsonb(e) - 'sealed', 'steps', coalesce(s.rows, '[]'), 'timeline', coalesce(t.rows, '[]'),
               'logs', coalesce(l.rows, '[]'), 'context', coalesce(c.rows, '[]'), 'waits', coalesce(w.rows, '[]'),
               'batch', coalesce(b.rows, '[]'), 'events', coalesce(v.rows, '[]'), 'decisions', coalesce(d.rows, '[]'))::text,
           array_remove(ARRAY[archive_key('workflow:id', e.workflow_id::text), archive_key('execution:id', e.parent_id::text),
                              archive_key(e.subject_kind, e.subject_id)], NULL) || coalesce(v.keys, '{}'),
           coalesce(s.number, 0), coalesce(v.number, 0), coalesce(l.number, 0)
    FROM workflow_executions AS e
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.seq, x.path) AS rows, count(*) AS number
                        FROM workflow_steps AS x WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) AS s
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.id) AS rows
                        FROM workflow_timeline AS x WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) AS t
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.id) AS rows, count(*) AS number
                        FROM workflow_logs AS x WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) AS l
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.key) AS rows
                        FROM workflow_context AS x WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) AS c
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.id) AS rows
                        FROM waits AS x WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) AS w
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.position) AS rows, array_agg(x.event_id) AS ids
                        FROM execution_events AS x WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) AS b
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.id) AS rows, count(*) AS number,
                               array_remove(array_agg(archive_key(x.subject_kind, x.subject_id))
                                            || array_agg(archive_key('execution:id', x.caused_by::text)), NULL)
                               || CASE WHEN count(x.also_caused_by) > 0 THEN ARRAY(
                                   SELECT archive_key('execution:id', c::text)
                                   FROM events AS y CROSS JOIN LATERAL unnest(y.also_caused_by) AS c
                                   WHERE y.tenant_id = e.tenant_id AND y.id = ANY (e.event_id || b.ids)) END AS keys
                        FROM events AS x WHERE x.tenant_id = e.tenant_id AND x.id = ANY (e.event_id || b.ids)) AS v
    CROSS JOIN LATERAL (SELECT json_agg(to_jsonb(x) ORDER BY x.event_id) AS rows
                        FROM event_decisions AS x
                        WHERE x.tenant_id = e.tenant_id AND x.event_id = ANY (e.event_id || b.ids)) AS d
    WHERE e.tenant_id = tenant AND e.id = ANY (export_executions.ids)
    ORDER BY e.id;
END;
COMMENT ON FUNCTION export_executions IS
    'Executions as lines of an archive: each with everything that belongs to it and its events, as JSON objects of the rows.';

CREATE FUNCTION list_going(week text, tenant uuid, after_id uuid, most integer) RETURNS TABLE (id uuid)
    LANGUAGE plpgsql STABLE SET search_path = hark, pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT e.id FROM %I AS e WHERE e.tenant_id = $1 AND e.id > $2 AND NOT EXISTS ('
        'SELECT FROM staying AS s WHERE s.tenant_id = e.tenant_id AND s.execution_id = e.id) '
        'ORDER BY e.id LIMIT $3', 'workflow_executions_' || week) USING tenant, after_id, most;
END $$;
COMMENT ON FUNCTION list_going IS 'A slice of the executions of a tenant that go with a week that was prepared and looked through.';

CREATE FUNCTION restore_executions(tenant uuid, lines jsonb[], until timestamptz) RETURNS TABLE (id uuid, outcome text)
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    line jsonb;
    was workflow_executions;
BEGIN
    FOREACH line IN ARRAY lines LOOP
        was := jsonb_populate_record(NULL::workflow_executions, line -> 'execution');
        id := was.id;
        IF was.tenant_id <> tenant THEN
            RAISE EXCEPTION 'execution % belongs to another tenant', was.id;
        END IF;
        -- As for every start: the workflow is there, and stays there until this is.
        PERFORM FROM workflows AS w WHERE w.tenant_id = tenant AND w.id = was.workflow_id FOR KEY SHARE;
        IF NOT FOUND THEN
            outcome := 'no_workflow';
            RETURN NEXT;
            CONTINUE;
        END IF;
        was.limits := NULL;
        was.lanes := NULL;
        was.held := 0;
        was.kept_until := until;
        INSERT INTO workflow_executions SELECT was.* ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            UPDATE workflow_executions AS e SET kept_until = greatest(e.kept_until, until)
            WHERE e.tenant_id = tenant AND e.id = was.id AND e.kept_until IS NOT NULL;
            outcome := 'there';
            RETURN NEXT;
            CONTINUE;
        END IF;
        INSERT INTO workflow_steps SELECT * FROM jsonb_populate_recordset(NULL::workflow_steps, line -> 'steps');
        INSERT INTO workflow_timeline SELECT * FROM jsonb_populate_recordset(NULL::workflow_timeline, line -> 'timeline');
        INSERT INTO workflow_logs SELECT * FROM jsonb_populate_recordset(NULL::workflow_logs, line -> 'logs');
        INSERT INTO workflow_context SELECT * FROM jsonb_populate_recordset(NULL::workflow_context, line -> 'context');
        INSERT INTO waits SELECT * FROM jsonb_populate_recordset(NULL::waits, line -> 'waits');
        INSERT INTO execution_events SELECT * FROM jsonb_populate_recordset(NULL::execution_events, line -> 'batch');
        INSERT INTO events AS v SELECT * FROM jsonb_populate_recordset(NULL::events, line -> 'events')
            ON CONFLICT (tenant_id, id) DO UPDATE SET matched = true WHERE NOT v.matched;
        INSERT INTO event_decisions SELECT * FROM jsonb_populate_recordset(NULL::event_decisions, line -> 'decisions')
            ON CONFLICT DO NOTHING;
        outcome := 'restored';
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION restore_executions IS
    'Puts executions back that an archive holds, where no policy lets them go before a moment. What is there stays as it is.';

-- ---------------------------------------------------------------------------------------------- erasure of subjects

CREATE TABLE erasures (
    tenant_id     uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id            uuid NOT NULL,
    kind          text NOT NULL,
    salt          bytea NOT NULL,
    digest        bytea NOT NULL CHECK (octet_length(digest) = 32),
    requested_by  text NOT NULL,
    begun_at      timestamptz NOT NULL DEFAULT now(),
    decided_at    timestamptz,
    ended_at      timestamptz,
    executions    bigint NOT NULL DEFAULT 0,
    steps         bigint NOT NULL DEFAULT 0,
    logs          bigint NOT NULL DEFAULT 0,
    events        bigint NOT NULL DEFAULT 0,
    emptied       bigint NOT NULL DEFAULT 0,
    archived      bigint NOT NULL DEFAULT 0,
    files         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT ended_is_decided CHECK (ended_at IS NULL OR decided_at IS NOT NULL)
);
COMMENT ON TABLE erasures IS
    'On record that a subject was erased, when, by whom and how much that was; not who it was. One is under way at a time.';
COMMENT ON COLUMN erasures.digest IS
    'SHA-256 of salt, kind, a line feed and the subject''s id: whoever knows the id can find out that it was erased.';
COMMENT ON COLUMN erasures.decided_at IS
    'When `erasing` named all of it: from then on it is carried out, if need be by another instance. Until then nothing has gone.';
COMMENT ON COLUMN erasures.emptied IS 'Events that others'' executions need: they stay, without what they said.';
COMMENT ON COLUMN erasures.archived IS 'Executions that were taken out of the archive, whose files were written anew.';
CREATE INDEX erasures_under_way ON erasures (begun_at) WHERE ended_at IS NULL;
COMMENT ON INDEX erasures_under_way IS 'list_erasures_under_way.sql, was_anything_erased.sql';
CREATE INDEX erasures_by_end ON erasures (ended_at);
COMMENT ON INDEX erasures_by_end IS 'was_anything_erased.sql';

CREATE TABLE erasing (
    tenant_id   uuid NOT NULL,
    erasure_id  uuid NOT NULL,
    what        text NOT NULL CHECK (what IN ('execution', 'event', 'archive')),
    id          uuid NOT NULL,
    seq         bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tenant_id, erasure_id, what, id)
);
COMMENT ON TABLE erasing IS
    'What an erasure that is under way takes: executions, events, and files of the archive that are to be written anew. Empty '
    'otherwise.';
COMMENT ON COLUMN erasing.seq IS 'The order in which they were found: what follows from one comes after it.';
-- Not led by the tenant: while there are no statistics it would be taken for the primary key, and read through for each id.
CREATE UNIQUE INDEX erasing_by_seq ON erasing (seq);
COMMENT ON INDEX erasing_by_seq IS 'slice_of_erasing, last_erasing.sql, clear_erasing.sql';

CREATE FUNCTION slice_of_erasing(tenant uuid, erasure uuid, after_seq bigint, most integer)
    RETURNS TABLE (seq bigint, what text, id uuid) LANGUAGE sql STABLE SET search_path = hark, pg_catalog, pg_temp
BEGIN ATOMIC
    -- What is not of this erasure was left by one that was cut off; it counts, or a slice of it would look like the last one.
    SELECT x.seq, CASE WHEN x.tenant_id = tenant AND x.erasure_id = erasure THEN x.what END, x.id
    FROM erasing AS x WHERE x.seq > after_seq ORDER BY x.seq LIMIT most;
END;
COMMENT ON FUNCTION slice_of_erasing IS 'A slice of what an erasure takes; the rows without a what are to be passed over.';

CREATE FUNCTION reach_further(tenant uuid, erasure uuid, whose_kind text, whose text, after_seq bigint, most integer)
    RETURNS bigint LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    runs uuid[];
    heard uuid[];
    last bigint;
BEGIN
    SELECT max(s.seq), array_agg(s.id) FILTER (WHERE s.what = 'execution'), array_agg(s.id) FILTER (WHERE s.what = 'event')
    INTO last, runs, heard
    FROM slice_of_erasing(tenant, erasure, after_seq, most) AS s;
    INSERT INTO erasing (tenant_id, erasure_id, what, id)
    SELECT tenant, erasure, 'execution', e.id FROM workflow_executions AS e
    WHERE e.tenant_id = tenant AND e.parent_id = ANY (runs)
    UNION
    -- What an event has started is about the same, unless it says otherwise. Executions carry their event's millisecond.
    SELECT tenant, erasure, 'execution', e.id
    FROM unnest(heard) AS h (id) CROSS JOIN LATERAL (
        SELECT o.id FROM workflow_executions AS o
        WHERE o.tenant_id = tenant AND o.event_id = h.id AND o.id BETWEEN first_beside(h.id) AND last_beside(h.id)
          AND (o.subject_id IS NULL OR (o.subject_kind = whose_kind AND o.subject_id = whose))
        OFFSET 0) AS e
    UNION
    -- A batch holds what each of its events said.
    SELECT tenant, erasure, 'execution', b.execution_id FROM execution_events AS b
    WHERE b.tenant_id = tenant AND b.event_id = ANY (heard)
    UNION
    SELECT tenant, erasure, 'event', v.id FROM events AS v
    WHERE v.tenant_id = tenant AND v.caused_by = ANY (runs)
      -- That of an end holds what the execution has put out, whatever its followers say that it is about.
      AND (v.subject_id IS NULL OR (v.subject_kind = whose_kind AND v.subject_id = whose) OR v.kind = 'workflow')
    UNION
    SELECT tenant, erasure, 'event', v.id FROM events AS v WHERE v.tenant_id = tenant AND v.also_caused_by && runs
    UNION
    -- The event of a batch is one of many, and need not be about them.
    SELECT tenant, erasure, 'event', v.id
    FROM workflow_executions AS e CROSS JOIN LATERAL (
        SELECT o.id FROM events AS o
        WHERE o.tenant_id = tenant AND o.id = e.event_id
          AND (o.subject_id IS NULL OR (o.subject_kind = whose_kind AND o.subject_id = whose))
        OFFSET 0) AS v
    WHERE e.tenant_id = tenant AND e.id = ANY (runs)
      AND NOT EXISTS (SELECT FROM execution_events AS b WHERE b.tenant_id = tenant AND b.execution_id = e.id)
    ON CONFLICT DO NOTHING;
    RETURN last;
END $$;
COMMENT ON FUNCTION reach_further IS
    'Adds to a list of what is to be erased what follows from a slice of it: children and parts, what was published, and what '
    'that started. What names another subject is left. Returns where the slice ends, NULL behind the last.';

CREATE FUNCTION cancel_executions(tenant uuid, ids uuid[], why jsonb)
    RETURNS TABLE (cancelled bigint, ended bigint) LANGUAGE sql SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    -- Connections of the pool plan everything anew, and for each row what its triggers do: that took 3 of 4 ms.
    SET plan_cache_mode = force_generic_plan
BEGIN ATOMIC
    WITH lanes AS MATERIALIZED (
        -- First, as by everybody who starts or ends something there.
        SELECT lock_lanes(array_agg(s.tenant_id), array_agg(s.lane_id)) AS locked
        FROM slots AS s WHERE s.tenant_id = tenant AND s.execution_id = ANY (ids)
    ), held AS MATERIALIZED (
        SELECT e.id FROM lanes
        CROSS JOIN workflow_executions AS e
        WHERE e.tenant_id = tenant AND e.id = ANY (ids)
          AND (e.status IN ('pending', 'waiting') OR (e.status = 'running' AND e.cancel_requested_at IS NULL))
        ORDER BY e.id
        FOR NO KEY UPDATE OF e SKIP LOCKED
    ), done AS (
        UPDATE workflow_executions AS e
        SET cancel_requested_at = now(),
            status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
            completed_at = CASE WHEN e.status = 'running' THEN NULL ELSE now() END,
            due_at = CASE WHEN e.status = 'running' THEN e.due_at END,
            pending_reason = NULL,
            error = CASE WHEN e.status = 'running' THEN e.error ELSE why END
        FROM held
        WHERE e.tenant_id = tenant AND e.id = held.id AND e.status IN ('pending', 'running', 'waiting')
        RETURNING e.id, e.status
    ), noted AS (
        INSERT INTO workflow_timeline (tenant_id, execution_id, id, type, detail)
        SELECT tenant, d.id, new_id(), 'execution.cancel_requested', jsonb_build_object('reason', why ->> 'message')
        FROM done AS d
    ), told AS MATERIALIZED (
        SELECT pg_notify('hark_cancel', d.id::text) AS it FROM done AS d WHERE d.status = 'running'
    )
    SELECT (SELECT count(*) FROM done) + 0 * (SELECT count(it) FROM told),
           (SELECT count(*) FROM done AS d WHERE d.status <> 'running');
END;
COMMENT ON FUNCTION cancel_executions IS
    'Cancels those of some executions that are open; one that runs is asked once, by way of its instance. Who is just being '
    'written is left out. Returns how many were cancelled or asked, and how many have ended by that.';

CREATE FUNCTION erase_listed(tenant uuid, erasure uuid, after_seq bigint, most integer) RETURNS bigint
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    runs uuid[];
    named uuid[];
    still uuid[];
    last bigint;
    was record;
BEGIN
    SELECT max(s.seq), array_agg(s.id) FILTER (WHERE s.what = 'execution') INTO last, runs
    FROM slice_of_erasing(tenant, erasure, after_seq, most) AS s;
    SELECT array_agg(p.id), array_agg(p.event_id) INTO runs, named
    FROM (SELECT e.id, e.event_id FROM workflow_executions AS e
          WHERE e.tenant_id = tenant AND e.id = ANY (runs) AND e.completed_at IS NOT NULL
          ORDER BY e.id FOR UPDATE) AS p;
    IF runs IS NULL THEN
        RETURN last;
    END IF;
    SELECT (SELECT count(*) FROM workflow_steps AS s WHERE s.tenant_id = tenant AND s.execution_id = ANY (runs)) AS steps,
           (SELECT count(*) FROM workflow_logs AS l WHERE l.tenant_id = tenant AND l.execution_id = ANY (runs)) AS logs
    INTO was;
    UPDATE erasures AS r
    SET executions = r.executions + cardinality(runs), steps = r.steps + was.steps, logs = r.logs + was.logs
    WHERE r.tenant_id = tenant AND r.id = erasure;
    named := named || ARRAY(SELECT b.event_id FROM execution_events AS b
                            WHERE b.tenant_id = tenant AND b.execution_id = ANY (runs));
    -- Waits for who makes an event of one: that is found when all is looked through again.
    DELETE FROM execution_ends AS d WHERE d.tenant_id = tenant AND d.execution_id = ANY (runs);
    PERFORM forget_joined(tenant, runs);
    DELETE FROM start_keys AS k USING workflow_executions AS e
    WHERE e.tenant_id = tenant AND e.id = ANY (runs) AND e.limits ? 'idempotency'
      AND k.tenant_id = tenant AND k.id = (e.limits -> 'idempotency' ->> 'id')::uuid AND k.execution_id = e.id;
    PERFORM erase_executions(tenant, runs);
    -- Of the others in a batch nothing is left but the event, as of one that started nothing.
    still := choose_named(tenant, named);
    UPDATE events AS v SET matched = false
    WHERE v.tenant_id = tenant AND v.id = ANY (named) AND v.matched AND v.id <> ALL (still);
    RETURN last;
END $$;
COMMENT ON FUNCTION erase_listed IS
    'Deletes the executions in a slice of what is to be erased, with everything of them. Returns where the slice ends, NULL '
    'behind the last.';

CREATE FUNCTION erase_listed_events(tenant uuid, erasure uuid, after_seq bigint, most integer) RETURNS bigint
    LANGUAGE plpgsql SET search_path = hark, pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    heard uuid[];
    needed uuid[];
    last bigint;
    gone bigint;
    bare bigint;
BEGIN
    SELECT max(s.seq), array_agg(s.id) FILTER (WHERE s.what = 'event') INTO last, heard
    FROM slice_of_erasing(tenant, erasure, after_seq, most) AS s;
    IF heard IS NULL THEN
        RETURN last;
    END IF;
    needed := choose_named(tenant, heard);
    DELETE FROM event_decisions AS d WHERE d.tenant_id = tenant AND d.event_id = ANY (heard);
    -- Slots and marks are Hark's own and say nothing about anybody; without them an instance that lags would fire again.
    DELETE FROM event_keys AS k USING events AS v
    WHERE v.tenant_id = tenant AND v.id = ANY (heard) AND v.dedupe_key IS NOT NULL AND v.kind NOT IN ('cron', 'notify')
      AND k.tenant_id = tenant AND k.source = v.source AND k.key = v.dedupe_key AND k.event_id = v.id;
    -- Of an event or webhook its sender says the source; of all others it is the name of a table, a channel, a schedule.
    UPDATE events AS v SET data = '{}', subject_kind = NULL, subject_id = NULL, dedupe_key = NULL,
                           source = CASE WHEN v.kind IN ('event', 'webhook') THEN '' ELSE v.source END
    WHERE v.tenant_id = tenant AND v.id = ANY (needed)
      AND (v.data <> '{}' OR v.subject_id IS NOT NULL OR v.dedupe_key IS NOT NULL
           OR (v.kind IN ('event', 'webhook') AND v.source <> ''));
    GET DIAGNOSTICS bare = ROW_COUNT;
    DELETE FROM events AS v WHERE v.tenant_id = tenant AND v.id = ANY (heard) AND v.id <> ALL (needed);
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE erasures AS r SET events = r.events + gone, emptied = r.emptied + bare WHERE r.tenant_id = tenant AND r.id = erasure;
    RETURN last;
END $$;
COMMENT ON FUNCTION erase_listed_events IS
    'Deletes the events in a slice of what is to be erased, with decisions and dedupe keys; of those that an execution about '
    'something else names only the row stays. Returns where the slice ends, NULL behind the last.';

CREATE FUNCTION without_events(line jsonb, ids uuid[]) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = hark, pg_catalog, pg_temp
    RETURN line || jsonb_build_object(
        'events', (SELECT coalesce(jsonb_agg(CASE WHEN (v.one ->> 'id')::uuid = ANY (ids) THEN v.one ||
                       '{"data": {}, "subject_kind": null, "subject_id": null, "dedupe_key": null}'
                       || CASE WHEN v.one ->> 'kind' IN ('event', 'webhook') THEN '{"source": ""}'::jsonb ELSE '{}' END
                       ELSE v.one END ORDER BY v.n), '[]')
                   FROM jsonb_array_elements(line -> 'events') WITH ORDINALITY AS v (one, n)),
        'decisions', (SELECT coalesce(jsonb_agg(d.one ORDER BY d.n), '[]')
                      FROM jsonb_array_elements(line -> 'decisions') WITH ORDINALITY AS d (one, n)
                      WHERE (d.one ->> 'event_id')::uuid <> ALL (ids)));
COMMENT ON FUNCTION without_events IS
    'A line of the archive in which some events say nothing any more, as erase_listed_events leaves them. Here, because jsonb '
    'keeps every number as it was written.';

INSERT INTO schema_migrations (version, description) VALUES (1, 'first schema');

COMMIT;
