-- What there is of these workflows, with the hash of the latest version.
SELECT w.id, w.slug, w.status, w.paused_at, w.published_version, w.latest_version, v.content_hash
FROM hark.workflows AS w
LEFT JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.latest_version
WHERE w.tenant_id = $1 AND w.slug = ANY ($2::text[])
