-- The webhook triggers of a tenant's active workflows, paused ones too: they may be switched on again at any time.
SELECT t.workflow_id, w.slug, t.id, t.config
FROM hark.workflow_triggers AS t
JOIN hark.workflows AS w ON w.tenant_id = t.tenant_id AND w.id = t.workflow_id
WHERE t.tenant_id = $1 AND t.kind = 'webhook' AND w.status = 'active'
ORDER BY w.slug, t.id
