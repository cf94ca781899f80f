-- All questions of one execution, open or not; one row without an id when it has asked none.
SELECT w.tenant_id, w.id, w.execution_id, k.slug AS workflow, k.name AS workflow_name, w.path, w.detail, w.opened_at, w.until,
       w.answer, w.answered_at, w.token_digest, e.status, s.status AS step_status,
       w.answered_at IS NULL AND w.closed_at IS NULL AND e.completed_at IS NULL AND s.status = 'waiting'
           AND coalesce(w.until > now(), true) AS is_open
FROM hark.workflow_executions AS e
JOIN hark.workflows AS k ON k.tenant_id = e.tenant_id AND k.id = e.workflow_id
LEFT JOIN hark.waits AS w ON w.tenant_id = e.tenant_id AND w.execution_id = e.id AND w.kind = 'approval'
LEFT JOIN hark.workflow_steps AS s ON s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id AND s.path = w.path
WHERE e.tenant_id = $1 AND e.id = $2
ORDER BY w.id
