-- What happened in one execution, in order: told by its event, by itself, by its steps, and by what the engine noted.
WITH execution AS MATERIALIZED (
    SELECT e.tenant_id, e.id, e.event_id, e.trigger_type, e.status, e.error, e.started_at, e.completed_at
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.id = $2
), told AS (
    SELECT hark.id_time(v.id) AS at, 0 AS rank, 0 AS seq, 'event.received' AS type, NULL AS path,
           jsonb_build_object('event_id', v.id, 'type', v.type, 'kind', v.kind) AS detail
    FROM execution AS e
    JOIN hark.events AS v ON v.tenant_id = e.tenant_id AND v.id = e.event_id
    UNION ALL
    SELECT e.started_at, 1, 0, 'execution.started', NULL, NULL FROM execution AS e WHERE e.started_at IS NOT NULL
    UNION ALL
    SELECT s.started_at, 2, s.seq, 'step.started', s.path, NULL
    FROM hark.workflow_steps AS s
    WHERE s.tenant_id = $1 AND s.execution_id = $2 AND s.started_at IS NOT NULL
    UNION ALL
    SELECT coalesce(s.completed_at, s.started_at), 2, s.seq,
           CASE WHEN s.verb = 'fold' THEN 'turns.folded' ELSE 'step.' || s.status END, s.path,
           CASE WHEN s.verb = 'fold' THEN s.output
                WHEN s.error IS NOT NULL THEN jsonb_build_object('error', s.error ->> 'message')
                WHEN s.due_at IS NOT NULL THEN jsonb_build_object('due_at', s.due_at) END
    FROM hark.workflow_steps AS s
    WHERE s.tenant_id = $1 AND s.execution_id = $2 AND s.status NOT IN ('pending', 'running')
    UNION ALL
    SELECT hark.id_time(t.id), 2, 2147483647, t.type, t.path, t.detail
    FROM hark.workflow_timeline AS t
    WHERE t.tenant_id = $1 AND t.execution_id = $2
    UNION ALL
    SELECT e.completed_at, 3, 0, 'execution.' || e.status, NULL,
           CASE WHEN e.error IS NOT NULL THEN jsonb_build_object('error', e.error ->> 'message') END
    FROM execution AS e
    WHERE e.completed_at IS NOT NULL
)
SELECT told.at, told.type, told.path, told.detail
FROM told
ORDER BY told.at, told.rank, told.seq
LIMIT $3
