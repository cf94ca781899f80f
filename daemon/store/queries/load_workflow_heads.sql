-- Definitions without their steps: what the registry keeps in memory of each active workflow.
SELECT v.tenant_id, v.workflow_id, v.version, v.created_at, v.definition - '{steps,on_error,output,tests}'::text[] AS head
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS u (tenant_id, workflow_id, version)
JOIN hark.workflow_versions AS v USING (tenant_id, workflow_id, version)
