-- The triggers of a tenant's active workflows, also of paused ones, of one kind ($2) or of all.
SELECT w.slug AS workflow, w.id AS workflow_id, t.id AS trigger_id, t.kind, t.route, t.event_type, t.config, w.paused_at
FROM hark.workflow_triggers AS t
JOIN hark.workflows AS w ON w.tenant_id = t.tenant_id AND w.id = t.workflow_id
WHERE t.tenant_id = $1 AND w.status = 'active' AND ($2::text IS NULL OR t.kind = $2)
ORDER BY w.slug, t.id
