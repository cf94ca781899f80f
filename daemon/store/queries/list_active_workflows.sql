-- Every active workflow with the version it has published; what the registry compares itself with.
SELECT w.tenant_id, w.id, w.slug, w.published_version AS version, w.active_since,
       (SELECT generation FROM hark.registry) AS generation
FROM hark.workflows AS w
WHERE w.is_active
