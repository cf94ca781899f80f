-- What waits for an answer of people, the latest first: $2 > id >= $3, at most $4; $5 slug of a workflow, or NULL.
-- OFFSET 0 keeps it a look at one wait after the other, until there are enough.
SELECT w.tenant_id, w.id, w.execution_id, a.workflow, a.workflow_name, w.path, w.detail, w.opened_at, w.until,
       w.answer, w.answered_at, w.token_digest, a.status, a.step_status, true AS is_open
FROM hark.waits AS w
CROSS JOIN LATERAL (
    SELECT k.slug AS workflow, k.name AS workflow_name, e.status, s.status AS step_status
    FROM hark.workflow_executions AS e
    JOIN hark.workflows AS k ON k.tenant_id = e.tenant_id AND k.id = e.workflow_id
    JOIN hark.workflow_steps AS s ON s.tenant_id = w.tenant_id AND s.execution_id = w.execution_id AND s.path = w.path
    WHERE e.tenant_id = w.tenant_id AND e.id = w.execution_id AND e.completed_at IS NULL AND s.status = 'waiting'
      AND ($5::text IS NULL OR k.slug = $5)
    OFFSET 0
) AS a
WHERE w.tenant_id = $1 AND w.kind = 'approval' AND w.answered_at IS NULL AND w.closed_at IS NULL
  AND w.id < $2 AND w.id >= $3 AND coalesce(w.until > now(), true)
ORDER BY w.id DESC
LIMIT $4
