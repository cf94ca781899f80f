-- Which of these executions belong to this instance and run: after a COMMIT whose answer was lost.
SELECT e.id FROM unnest($2::uuid[], $3::uuid[]) AS u (tenant_id, id)
JOIN hark.workflow_executions AS e USING (tenant_id, id)
WHERE e.instance_id = $1 AND e.status = 'running'
