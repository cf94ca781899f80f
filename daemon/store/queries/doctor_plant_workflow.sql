-- Plants a workflow with all that hangs on one, in a tenant of its own: $1 tenant, $2 workflow, $3 execution, $4 slug.
-- Only ever run in a transaction that is rolled back.
WITH tenant AS (
    INSERT INTO hark.tenants (id, slug, name) VALUES ($1, $4, $4)
), workflow AS (
    INSERT INTO hark.workflows (tenant_id, id, slug, name) VALUES ($1, $2, $4, $4)
), version AS (
    INSERT INTO hark.workflow_versions (tenant_id, workflow_id, version, content_hash, definition)
    VALUES ($1, $2, 1, repeat('0', 64), '{}')
), trigger AS (
    INSERT INTO hark.workflow_triggers (tenant_id, workflow_id, id, kind, route, config)
    VALUES ($1, $2, 'trial', 'cron', 'cron:trial', '{}')
), schedule AS (
    INSERT INTO hark.schedules (tenant_id, workflow_id, trigger_id, schedule, timezone, settled_until)
    VALUES ($1, $2, 'trial', '0 0 * * *', 'UTC', now())
), event AS (
    INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched)
    VALUES ($1, $3, 'cron', 'cron.due', 'trial', 'cron:trial', '{}', now(), true)
), decision AS (
    INSERT INTO hark.event_decisions (tenant_id, event_id, workflow_id, trigger_id, reason)
    VALUES ($1, $3, $2, 'trial', 'not_concerned')
), execution AS (
    INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status, completed_at)
    VALUES ($1, $3, $2, 1, $3, 'cron', 'completed', now())
), steps AS (
    INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status)
    SELECT $1, $3, 'step_' || n, n, 'set', 'completed' FROM generate_series(0, 2) AS n
), timeline AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type) VALUES ($1, $3, $3, 'trial')
), logs AS (
    INSERT INTO hark.workflow_logs (tenant_id, execution_id, id, level, message) VALUES ($1, $3, $3, 'info', 'trial')
), context AS (
    INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value) VALUES ($1, $3, 'trial', 'true')
)
INSERT INTO hark.waits (tenant_id, execution_id, path, id, kind, detail) VALUES ($1, $3, 'trial', $3, 'approval', '{}')
