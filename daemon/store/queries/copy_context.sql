-- Carries over to a retry what the execution remembered: the steps that wrote it do not run again.
INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value, updated_at, updated_by)
SELECT c.tenant_id, $3, c.key, c.value, c.updated_at, c.updated_by
FROM hark.workflow_context AS c
WHERE c.tenant_id = $1 AND c.execution_id = $2
