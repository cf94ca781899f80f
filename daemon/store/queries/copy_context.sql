-- Carries over to a retry or replay what the execution remembered; of what steps wrote, with $4, only what these wrote:
-- the others run again.
INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value, updated_at, updated_by)
SELECT c.tenant_id, $3, c.key, c.value, c.updated_at, c.updated_by
FROM hark.workflow_context AS c
WHERE c.tenant_id = $1 AND c.execution_id = $2
  AND ($4::text[] IS NULL OR c.updated_by NOT LIKE 'step:%' OR substr(c.updated_by, 6) = ANY ($4::text[]))
