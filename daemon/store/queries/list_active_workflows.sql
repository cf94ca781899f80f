-- Every active workflow with the version it has published, and the generation that this is; what the registry compares
-- itself with. One row without a workflow when none is active.
SELECT w.tenant_id, w.id, w.slug, w.published_version AS version, w.active_since, r.generation
FROM hark.registry AS r
LEFT JOIN hark.workflows AS w ON w.is_active
