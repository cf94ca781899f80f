-- Cancels an execution that nobody runs; of one that runs, notes the wish for its instance. Nothing once it has ended.
UPDATE hark.workflow_executions
SET cancel_requested_at = now(),
    status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
    completed_at = CASE WHEN status = 'running' THEN NULL ELSE now() END,
    due_at = CASE WHEN status = 'running' THEN due_at END,
    pending_reason = NULL,
    error = CASE WHEN status = 'running' THEN error ELSE $3::jsonb END
WHERE tenant_id = $1 AND id = $2 AND status IN ('pending', 'running', 'waiting')
RETURNING status
