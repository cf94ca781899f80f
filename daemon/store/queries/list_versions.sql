-- A workflow's versions below $3, newest first.
SELECT v.version, v.content_hash, v.created_at, v.version = w.published_version AS is_published
FROM hark.workflow_versions AS v
JOIN hark.workflows AS w ON w.tenant_id = v.tenant_id AND w.id = v.workflow_id
WHERE v.tenant_id = $1 AND v.workflow_id = $2 AND v.version < $3
ORDER BY v.version DESC
LIMIT $4
