-- Takes up to $2 executions for instance $1: first those whose time has come, then those that wait for an instance.
WITH licence AS MATERIALIZED (
    SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
), due AS MATERIALIZED (
    SELECT e.tenant_id, e.id
    FROM hark.workflow_executions AS e
    WHERE e.status = 'waiting' AND e.due_at IS NOT NULL AND e.due_at <= now()
    ORDER BY e.due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), queued AS MATERIALIZED (
    SELECT e.tenant_id, e.id
    FROM hark.workflow_executions AS e
    WHERE e.status = 'pending'
    ORDER BY e.priority DESC, e.id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), picked AS (
    SELECT tenant_id, id FROM due UNION ALL SELECT tenant_id, id FROM queued
    LIMIT $2
)
UPDATE hark.workflow_executions AS e
SET status = 'running', instance_id = $1, claims = e.claims + 1, due_at = NULL, woken = false, pending_reason = NULL,
    started_at = coalesce(e.started_at, now())
FROM licence, picked AS p
WHERE e.tenant_id = p.tenant_id AND e.id = p.id
RETURNING e.tenant_id, e.id, e.workflow_id, e.version, e.event_id, e.ordinal, e.trigger_id, e.trigger_type, e.mode, e.claims,
          e.deadline_at, e.depth, e.inputs, e.started_at, e.cancel_requested_at, e.origin_id, e.metadata, e.parent_id,
          e.parent_path, e.part
