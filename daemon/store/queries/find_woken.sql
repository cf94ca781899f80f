-- What this instance runs and there are news for.
SELECT id FROM hark.workflow_executions
WHERE instance_id = $1 AND status = 'running' AND woken
