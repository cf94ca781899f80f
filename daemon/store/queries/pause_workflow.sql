-- Switches an active workflow's triggers off.
UPDATE hark.workflows SET paused_at = coalesce(paused_at, now())
WHERE tenant_id = $1 AND slug = $2 AND status = 'active'
RETURNING id
