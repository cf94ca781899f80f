-- Which of these ids are executions on record.
SELECT e.id FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id) JOIN hark.workflow_executions AS e USING (tenant_id, id)
