-- How many executions of a workflow wait for their turn: $1 tenant, $2 workflow; counted to $3.
SELECT count(*) FROM (
    SELECT FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.status = 'pending' LIMIT $3
) AS p
