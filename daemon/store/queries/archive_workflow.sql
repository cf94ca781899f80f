-- Takes a workflow out of use and keeps its history.
UPDATE hark.workflows SET status = 'archived', paused_at = NULL
WHERE tenant_id = $1 AND slug = $2 RETURNING id
