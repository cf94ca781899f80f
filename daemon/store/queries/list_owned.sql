-- What is on record as running on this instance.
SELECT id FROM hark.workflow_executions WHERE instance_id = $1 AND status = 'running'
