-- What waits for an answer of people, the latest first: $2 > id >= $3, at most $4; $5 slug of a workflow, or NULL.
SELECT a.tenant_id, a.id, a.execution_id, a.workflow, a.workflow_name, a.path, a.detail, a.opened_at, a.until, a.answer,
       a.answered_at, a.token_digest, a.status, a.step_status, a.is_open
FROM hark.approvals AS a
WHERE a.tenant_id = $1 AND a.is_open AND a.id < $2 AND a.id >= $3 AND ($5::text IS NULL OR a.workflow = $5)
ORDER BY a.id DESC
LIMIT $4
