-- Changes a key of what an execution remembers while it has not ended: $3 key, $4 value, $5 who, $6 most keys.
-- FOR SHARE: the execution cannot end while this is being written.
WITH execution AS (
    SELECT e.id, e.status, e.completed_at IS NOT NULL AS ended
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.id = $2
    FOR SHARE
), room AS (
    SELECT count(*) FILTER (WHERE c.key <> $3) < $6 AS enough
    FROM hark.workflow_context AS c WHERE c.tenant_id = $1 AND c.execution_id = $2
), written AS (
    INSERT INTO hark.workflow_context AS c (tenant_id, execution_id, key, value, updated_by)
    SELECT $1, e.id, $3, $4::jsonb, $5 FROM execution AS e, room AS r WHERE NOT e.ended AND r.enough
    ON CONFLICT (tenant_id, execution_id, key) DO UPDATE
        SET value = excluded.value, updated_at = excluded.updated_at, updated_by = excluded.updated_by
    RETURNING c.key, c.value, c.updated_at, c.updated_by
)
SELECT e.status, e.ended, w.key, w.value, w.updated_at, w.updated_by
FROM execution AS e LEFT JOIN written AS w ON true
