-- Gives back executions that are on record as running on this instance and do not run there.
UPDATE hark.workflow_executions
SET status = 'pending', pending_reason = 'released', instance_id = NULL
WHERE instance_id = $1 AND status = 'running' AND id = ANY ($2::uuid[])
RETURNING id
