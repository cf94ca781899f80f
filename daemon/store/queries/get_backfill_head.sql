-- A workflow that slots are to be made up for, and for how long its history stays, by its slug.
-- `refuses`: some version may have let a slot pass that started nothing.
SELECT w.id, w.slug, w.status, w.paused_at, w.created_at, v.retention, v.failed_retention, v.kept_count,
    EXISTS (
        SELECT FROM hark.workflow_versions AS o
        WHERE o.tenant_id = w.tenant_id AND o.workflow_id = w.id AND (
            o.definition ?| ARRAY['conditions', 'inputs', 'concurrency', 'idempotency', 'throttle', 'rate_limit',
                                  'debounce', 'batch']
            OR jsonb_path_exists(o.definition, '$.triggers[*] ? (exists (@.when) || exists (@.inputs) || exists (@.subject))')
        )
    ) AS refuses
FROM hark.workflows AS w
LEFT JOIN hark.workflow_versions AS v
    ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.published_version
WHERE w.tenant_id = $1 AND w.slug = $2
