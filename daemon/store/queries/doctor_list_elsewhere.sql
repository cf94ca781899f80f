-- The published definitions of active workflows in which something names a connection.
SELECT w.slug, v.definition::text AS definition
FROM hark.workflows AS w
JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.published_version
WHERE w.is_active AND jsonb_path_exists(v.definition, '$.**.connection')
ORDER BY w.slug, w.tenant_id
