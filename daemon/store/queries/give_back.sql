-- Gives back what is left on record as running on an instance that has gone in good order.
UPDATE hark.workflow_executions
SET status = 'pending', pending_reason = 'released', instance_id = NULL
WHERE instance_id = $1 AND status = 'running'
RETURNING id
