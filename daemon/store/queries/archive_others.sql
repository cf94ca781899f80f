-- Archives the active and draft workflows of a tenant that are not among these.
UPDATE hark.workflows
SET status = 'archived', paused_at = NULL
WHERE tenant_id = $1 AND slug <> ALL ($2::text[]) AND status <> 'archived'
RETURNING id, slug, latest_version
