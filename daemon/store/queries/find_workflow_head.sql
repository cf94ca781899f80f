-- A workflow by its slug, with the head of its published definition; for starts that name it.
SELECT w.tenant_id, w.id AS workflow_id, w.slug, w.status, w.is_template, w.active_since, w.published_version AS version,
       v.created_at, v.definition - '{steps,on_error,output,tests}'::text[] AS head
FROM hark.workflows AS w
LEFT JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.published_version
WHERE w.tenant_id = $1 AND w.slug = $2
