-- What an execution remembers, for its expressions.
SELECT c.key, c.value
FROM hark.workflow_context AS c
WHERE c.tenant_id = $1 AND c.execution_id = $2
