-- What this instance runs and somebody wants to have cancelled.
SELECT id FROM hark.workflow_executions
WHERE instance_id = $1 AND status = 'running' AND cancel_requested_at IS NOT NULL
