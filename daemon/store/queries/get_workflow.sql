-- One workflow by id ($2) or slug ($3), with the definition of version $4, else of the published or the latest one.
SELECT w.id, w.slug, w.name, w.description, w.category, w.tags, w.status, w.is_active, w.is_template, w.paused_at,
       w.published_version, w.latest_version, w.created_at, w.updated_at, v.version, v.content_hash, v.definition,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'kind', t.kind, 'route', t.route,
                                                     'event_type', t.event_type, 'config', t.config) ORDER BY t.id), '[]')
        FROM hark.workflow_triggers AS t
        WHERE t.tenant_id = w.tenant_id AND t.workflow_id = w.id) AS triggers
FROM hark.workflows AS w
LEFT JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
   AND v.version = coalesce($4::integer, w.published_version, w.latest_version)
WHERE w.tenant_id = $1 AND (w.id = $2 OR w.slug = $3)
ORDER BY (w.slug = $3) DESC NULLS LAST
LIMIT 1
