-- A workflow that slots are to be made up for, and for how long its history stays, by its slug.
SELECT w.id, w.slug, w.status, w.paused_at, w.created_at, v.retention, v.failed_retention, v.kept_count
FROM hark.workflows AS w
LEFT JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.published_version
WHERE w.tenant_id = $1 AND w.slug = $2
