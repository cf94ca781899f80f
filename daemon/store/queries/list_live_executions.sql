-- What may have changed lately: executions made since $2, those that run or wait, and those watched so far ($3).
-- $4 one workflow, $5 one execution (NULL: all).
-- An array, not a join: PostgreSQL 15 would read whole partitions to join some hundred ids.
SELECT e.id, e.status
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.id = ANY (ARRAY(
    (SELECT n.id FROM hark.workflow_executions AS n
     WHERE n.tenant_id = $1 AND n.id >= $2 AND ($4::uuid IS NULL OR n.workflow_id = $4) AND ($5::uuid IS NULL OR n.id = $5)
     ORDER BY n.id DESC LIMIT 500)
    UNION
    (SELECT r.id FROM hark.workflow_executions AS r
     WHERE r.tenant_id = $1 AND r.status = 'running' AND ($4::uuid IS NULL OR r.workflow_id = $4)
       AND ($5::uuid IS NULL OR r.id = $5)
     ORDER BY r.id DESC LIMIT 500)
    UNION
    (SELECT r.id FROM hark.workflow_executions AS r
     WHERE r.tenant_id = $1 AND r.status = 'waiting' AND ($4::uuid IS NULL OR r.workflow_id = $4)
       AND ($5::uuid IS NULL OR r.id = $5)
     ORDER BY r.id DESC LIMIT 500)
    UNION
    SELECT unnest($3::uuid[])
))
