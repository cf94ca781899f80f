-- When the next waiting execution has to go on, and when the next one that was put off may start; NULL when none waits.
SELECT (SELECT min(due_at) FROM hark.workflow_executions WHERE status = 'waiting' AND due_at IS NOT NULL) AS waiting,
       (SELECT min(due_at) FROM hark.workflow_executions WHERE status = 'pending' AND due_at IS NOT NULL) AS put_off
