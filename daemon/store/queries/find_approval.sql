-- The question that a link is about: $1 execution, $2 digest of the token. Whose it is, the token alone says.
SELECT w.tenant_id, w.id, w.execution_id, k.slug AS workflow, k.name AS workflow_name, w.path, w.detail, w.opened_at, w.until,
       w.answer, w.answered_at, w.token_digest, e.status, s.status AS step_status,
       w.answered_at IS NULL AND w.closed_at IS NULL AND e.completed_at IS NULL AND s.status = 'waiting'
           AND coalesce(w.until > now(), true) AS is_open
FROM hark.waits AS w
JOIN hark.workflow_executions AS e ON e.tenant_id = w.tenant_id AND e.id = w.execution_id
JOIN hark.workflows AS k ON k.tenant_id = e.tenant_id AND k.id = e.workflow_id
JOIN hark.workflow_steps AS s ON s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id AND s.path = w.path
WHERE w.execution_id = $1 AND w.token_digest = $2
