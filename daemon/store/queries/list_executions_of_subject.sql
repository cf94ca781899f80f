-- Notes a slice of the executions about a subject as to be erased; where the slice ends, nothing behind the last.
WITH slice AS MATERIALIZED (
    SELECT e.id FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.subject_kind = $3 AND e.subject_id = $4 AND e.id > $5 AND e.id < $6
    ORDER BY e.id LIMIT $7
), noted AS (
    INSERT INTO hark.erasing (tenant_id, erasure_id, what, id) SELECT $1, $2, 'execution', s.id FROM slice AS s
    ON CONFLICT DO NOTHING
)
SELECT s.id FROM slice AS s ORDER BY s.id DESC LIMIT 1
