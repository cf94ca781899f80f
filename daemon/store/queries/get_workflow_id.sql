-- The id and slug of a workflow that is named by its id ($2) or its slug ($3).
SELECT id, slug FROM hark.workflows
WHERE tenant_id = $1 AND (id = $2 OR slug = $3)
ORDER BY (slug = $3) DESC NULLS LAST
LIMIT 1
