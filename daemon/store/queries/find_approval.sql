-- The question that a link is about: $1 execution, $2 digest of the token. Whose it is, the token alone says.
SELECT a.tenant_id, a.id, a.execution_id, a.workflow, a.workflow_name, a.path, a.detail, a.opened_at, a.until, a.answer,
       a.answered_at, a.token_digest, a.status, a.step_status, a.is_open
FROM hark.approvals AS a
WHERE a.execution_id = $1 AND a.token_digest = $2
