-- One step execution, to see whether it is on record.
SELECT s.status, s.output FROM hark.workflow_steps AS s
WHERE s.tenant_id = $1 AND s.execution_id = $2 AND s.path = $3
