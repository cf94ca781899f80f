-- How executions have ended, for those that wait for them.
SELECT e.id, e.status, e.output, e.error, e.completed_at
FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id)
JOIN hark.workflow_executions AS e USING (tenant_id, id)
