-- When the next waiting execution has to go on; NULL when none waits for a time.
SELECT min(due_at) FROM hark.workflow_executions WHERE status = 'waiting' AND due_at IS NOT NULL
