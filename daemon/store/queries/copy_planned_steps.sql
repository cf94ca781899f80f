-- Carries the record of an execution over to its replay: $4 as it is, $5 to be entered again with the decision made, and
-- without the stop that they may have ended with.
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, action_type, status, attempt, input, output,
                                 error, due_at, started_at, completed_at)
SELECT s.tenant_id, $3, s.path, s.seq, s.verb, s.action_type, CASE WHEN o.reopened THEN 'running' ELSE s.status END,
       s.attempt, CASE WHEN o.reopened AND jsonb_typeof(s.input) = 'object' THEN s.input - 'stopped_by' ELSE s.input END,
       CASE WHEN NOT o.reopened THEN s.output END, CASE WHEN NOT o.reopened THEN s.error END, NULL,
       CASE WHEN o.reopened THEN now() ELSE s.started_at END, CASE WHEN NOT o.reopened THEN s.completed_at END
FROM hark.workflow_steps AS s
CROSS JOIN LATERAL (SELECT s.path = ANY ($5::text[]) AS reopened) AS o
WHERE s.tenant_id = $1 AND s.execution_id = $2 AND s.path = ANY ($4::text[] || $5::text[])
