-- What lists show of these executions, newest first.
SELECT e.id, w.slug AS workflow, e.workflow_id, w.name AS workflow_name, e.version, e.status, e.pending_reason, e.mode,
       e.trigger_type, e.trigger_id, e.event_id, e.ordinal, e.origin_id, e.parent_id,
       CASE WHEN e.part IS NOT NULL THEN e.parent_path END AS part, e.subject_kind, e.subject_id,
       e.instance_id, e.due_at, hark.id_time(e.id) AS created_at, e.started_at, e.completed_at,
       round((extract(epoch FROM e.completed_at - e.started_at) * 1000)::numeric, 1)::float8 AS duration_ms,
       e.error ->> 'class' AS error_class, e.error ->> 'message' AS error_message, s.path AS current_step
FROM hark.workflow_executions AS e
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
LEFT JOIN LATERAL (
    SELECT s.path
    FROM hark.workflow_steps AS s
    WHERE s.tenant_id = e.tenant_id AND s.execution_id = e.id
    ORDER BY (s.completed_at IS NULL) DESC, s.seq DESC
    LIMIT 1
) AS s ON true
WHERE e.tenant_id = $1 AND e.id = ANY ($2::uuid[])
ORDER BY e.id DESC
