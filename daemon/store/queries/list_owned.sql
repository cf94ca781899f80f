-- What is on record as running on this instance, and which transaction wrote that.
SELECT id, xmin::text::bigint AS written_by FROM hark.workflow_executions WHERE instance_id = $1 AND status = 'running'
