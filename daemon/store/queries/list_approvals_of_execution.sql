-- All questions of one execution, open or not; one row without an id when it has asked none.
SELECT a.tenant_id, a.id, a.execution_id, a.workflow, a.workflow_name, a.path, a.detail, a.opened_at, a.until, a.answer,
       a.answered_at, a.token_digest, a.status, a.step_status, a.is_open
FROM hark.workflow_executions AS e
LEFT JOIN hark.approvals AS a ON a.tenant_id = e.tenant_id AND a.execution_id = e.id
WHERE e.tenant_id = $1 AND e.id = $2
ORDER BY a.id
