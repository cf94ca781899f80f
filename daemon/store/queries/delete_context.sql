-- Forgets a key of an execution that has not ended.
WITH execution AS (
    SELECT e.id, e.status, e.completed_at IS NOT NULL AS ended
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.id = $2
    FOR SHARE
), gone AS (
    DELETE FROM hark.workflow_context AS c
    USING execution AS e
    WHERE NOT e.ended AND c.tenant_id = $1 AND c.execution_id = $2 AND c.key = $3
    RETURNING c.key
)
SELECT e.status, e.ended, (SELECT g.key FROM gone AS g) AS key
FROM execution AS e
