-- What an execution remembers, with who wrote it; $3 one key, or NULL for all.
SELECT c.key, c.value, c.updated_at, c.updated_by
FROM hark.workflow_context AS c
WHERE c.tenant_id = $1 AND c.execution_id = $2 AND ($3::text IS NULL OR c.key = $3)
ORDER BY c.key
LIMIT $4
