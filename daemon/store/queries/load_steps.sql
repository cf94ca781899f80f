-- What is on record of claimed executions' steps.
SELECT s.execution_id, s.path, s.seq, s.verb, s.action_type, s.status, s.attempt, s.input, s.output, s.error, s.due_at,
       s.started_at, s.completed_at
FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, execution_id)
JOIN hark.workflow_steps AS s USING (tenant_id, execution_id)
ORDER BY s.execution_id, s.seq
