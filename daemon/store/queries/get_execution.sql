-- What only the page of one execution shows.
SELECT e.inputs, e.variables, e.output, e.error, e.metadata, e.priority, e.depth, e.claims, e.deadline_at, e.cancel_requested_at,
       v.definition
FROM hark.workflow_executions AS e
LEFT JOIN hark.workflow_versions AS v
    ON v.tenant_id = e.tenant_id AND v.workflow_id = e.workflow_id AND v.version = e.version
WHERE e.tenant_id = $1 AND e.id = $2
