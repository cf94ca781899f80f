-- Carries the record of an execution over to its retry: what is done stays done. The step that failed ($4) runs again;
-- what holds it goes on with the decision that it made; steps of the workflow's on_error ($5) are left out.
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, action_type, status, attempt, input, output,
                                 error, due_at, started_at, completed_at)
SELECT s.tenant_id, $3, s.path, s.seq, s.verb, s.action_type, CASE WHEN o.reopened THEN 'running' ELSE s.status END,
       s.attempt, s.input, s.output, CASE WHEN NOT o.reopened THEN s.error END, NULL, s.started_at,
       CASE WHEN NOT o.reopened THEN s.completed_at END
FROM hark.workflow_steps AS s
CROSS JOIN LATERAL (SELECT s.verb IN ('if', 'switch', 'for_each', 'while', 'parallel', 'try')
                           AND s.status IN ('running', 'failed', 'cancelled') AS reopened) AS o
WHERE s.tenant_id = $1 AND s.execution_id = $2 AND s.path <> $4 AND s.path <> ALL ($5::text[])
  -- A call or a part that failed is made anew.
  AND NOT (s.verb IN ('call', 'part') AND s.status NOT IN ('completed', 'skipped'))
  AND (o.reopened OR s.status IN ('completed', 'skipped', 'failed'))
