-- Adds a version to a workflow.
INSERT INTO hark.workflow_versions (tenant_id, workflow_id, version, content_hash, definition, created_by)
VALUES ($1, $2, $3, $4, $5::jsonb, $6)
