-- Takes up to $2 executions for instance $1: first those whose time has come, then those that wait for an instance. Of the
-- latter every tenant gets the same share; the turn begins behind tenant $3, which had it last.
WITH RECURSIVE licence AS MATERIALIZED (
    SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
), due AS MATERIALIZED (
    SELECT e.tenant_id, e.id
    FROM hark.workflow_executions AS e
    WHERE e.status = 'waiting' AND e.due_at IS NOT NULL AND e.due_at <= now()
    ORDER BY e.due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), after (tenant_id) AS (
    (SELECT e.tenant_id FROM hark.workflow_executions AS e
     WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued AND e.tenant_id > $3
     ORDER BY e.tenant_id LIMIT 1)
    UNION ALL
    SELECT following.tenant_id
    FROM after AS a CROSS JOIN LATERAL (
        SELECT e.tenant_id FROM hark.workflow_executions AS e
        WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued AND e.tenant_id > a.tenant_id
        ORDER BY e.tenant_id LIMIT 1) AS following
), before (tenant_id) AS (
    (SELECT e.tenant_id FROM hark.workflow_executions AS e
     WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued AND e.tenant_id <= $3
     ORDER BY e.tenant_id LIMIT 1)
    UNION ALL
    SELECT following.tenant_id
    FROM before AS b CROSS JOIN LATERAL (
        SELECT e.tenant_id FROM hark.workflow_executions AS e
        WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued AND e.tenant_id > b.tenant_id AND e.tenant_id <= $3
        ORDER BY e.tenant_id LIMIT 1) AS following
), tenants AS MATERIALIZED (
    SELECT t.tenant_id, count(*) OVER () AS number, row_number() OVER () AS turn
    FROM (SELECT tenant_id FROM after UNION ALL SELECT tenant_id FROM before LIMIT $2) AS t
), queued AS MATERIALIZED (
    SELECT q.tenant_id, q.id, t.number
    FROM tenants AS t CROSS JOIN LATERAL (
        SELECT e.tenant_id, e.id
        FROM hark.workflow_executions AS e
        WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued AND e.tenant_id = t.tenant_id
        ORDER BY e.priority DESC, e.id
        LIMIT ($2 + t.number - 1) / t.number
        FOR UPDATE SKIP LOCKED) AS q
    ORDER BY t.turn
), picked AS (
    SELECT tenant_id, id, 0 AS number FROM due UNION ALL SELECT tenant_id, id, number FROM queued
    LIMIT $2
)
UPDATE hark.workflow_executions AS e
SET status = 'running', instance_id = $1, claims = e.claims + 1, due_at = NULL, woken = false, pending_reason = NULL,
    started_at = coalesce(e.started_at, now())
FROM licence, picked AS p
WHERE e.tenant_id = p.tenant_id AND e.id = p.id
RETURNING e.tenant_id, e.id, e.workflow_id, e.version, e.event_id, e.ordinal, e.trigger_id, e.trigger_type, e.mode, e.claims,
          e.deadline_at, e.depth, e.inputs, e.variables, e.sealed, e.started_at, e.cancel_requested_at, e.origin_id,
          e.metadata, e.parent_id, e.parent_path, e.part, e.limits ? 'batch' AS is_batch, p.number AS tenants
