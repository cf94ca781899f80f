-- Switches an active workflow's triggers on again; what was due meanwhile is not made up for.
UPDATE hark.workflows
SET active_since = CASE WHEN paused_at IS NULL THEN active_since ELSE now() END, paused_at = NULL
WHERE tenant_id = $1 AND slug = $2 AND status = 'active'
RETURNING id
