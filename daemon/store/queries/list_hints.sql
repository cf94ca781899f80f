-- What the authors of active workflows wrote for people to try.
SELECT w.slug, v.definition #>> '{metadata,try}' AS hint
FROM hark.workflows AS w
JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.published_version
WHERE w.tenant_id = $1 AND w.is_active AND jsonb_typeof(v.definition #> '{metadata,try}') = 'string'
ORDER BY w.slug
