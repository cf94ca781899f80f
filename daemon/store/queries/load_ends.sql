-- How executions ended, for a trigger that has waited for all of them.
SELECT e.id, e.status, e.output, e.inputs, e.error, e.subject_kind, e.subject_id
FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id)
JOIN hark.workflow_executions AS e USING (tenant_id, id)
