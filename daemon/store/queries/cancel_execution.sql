-- Cancels an execution that nobody runs; of one that runs, notes the wish for its instance. Nothing once it has ended.
-- Its lanes are locked first, as by everybody who starts or ends something there.
WITH lanes AS MATERIALIZED (
    SELECT hark.lock_lanes(array_agg(s.tenant_id), array_agg(s.lane_id)) AS locked
    FROM hark.slots AS s
    WHERE s.tenant_id = $1 AND s.execution_id = $2
)
UPDATE hark.workflow_executions
SET cancel_requested_at = now(),
    status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
    completed_at = CASE WHEN status = 'running' THEN NULL ELSE now() END,
    due_at = CASE WHEN status = 'running' THEN due_at END,
    pending_reason = NULL,
    error = CASE WHEN status = 'running' THEN error ELSE $3::jsonb END
FROM lanes
WHERE tenant_id = $1 AND id = $2 AND status IN ('pending', 'running', 'waiting')
RETURNING status
