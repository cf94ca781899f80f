-- The triggers of active workflows, as their published versions declare them.
SELECT w.tenant_id, w.id AS workflow_id, w.slug, w.published_version AS version, t.declaration::text AS declaration
FROM hark.workflows AS w
JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.published_version
CROSS JOIN LATERAL jsonb_array_elements(v.definition -> 'triggers') WITH ORDINALITY AS t (declaration, place)
WHERE w.is_active AND (t.declaration -> 'enabled') IS DISTINCT FROM 'false'::jsonb
ORDER BY w.slug, w.tenant_id, t.place
