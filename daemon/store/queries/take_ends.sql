-- Takes the oldest ends of executions that others follow; the caller stores their events in the same transaction.
-- $1 most ends, $2 most bytes; one is always taken. What is no longer on record is passed over.
WITH locked AS MATERIALIZED (
    SELECT d.id, d.tenant_id, d.execution_id, d.workflow_id, d.trigger_id FROM hark.execution_ends AS d
    WHERE d.parked_at IS NULL ORDER BY d.id LIMIT $1 FOR UPDATE SKIP LOCKED
), known AS MATERIALIZED (
    SELECT l.id, l.workflow_id AS for_workflow, l.trigger_id AS for_trigger, e.tenant_id, e.id AS execution_id, e.workflow_id, e.status, e.output, e.inputs, e.error, e.depth,
           e.subject_kind, e.subject_id, e.completed_at,
           coalesce(pg_column_size(e.output), 0) + coalesce(pg_column_size(e.inputs), 0) AS bytes
    FROM locked AS l
    LEFT JOIN hark.workflow_executions AS e ON e.tenant_id = l.tenant_id AND e.id = l.execution_id
), counted AS (
    SELECT k.id, sum(k.bytes) OVER up_to AS bytes, row_number() OVER up_to AS place
    FROM known AS k WINDOW up_to AS (ORDER BY k.id)
), taken AS (
    DELETE FROM hark.execution_ends AS d USING counted AS c
    WHERE d.id = c.id AND (c.place = 1 OR coalesce(c.bytes, 0) <= $2)
    RETURNING d.id
)
SELECT k.id, k.tenant_id, k.execution_id, w.slug AS workflow, k.status, k.output, k.inputs, k.error, k.depth,
       k.subject_kind, k.subject_id, k.completed_at, k.for_workflow, k.for_trigger
FROM taken AS t
JOIN known AS k ON k.id = t.id
LEFT JOIN hark.workflows AS w ON w.tenant_id = k.tenant_id AND w.id = k.workflow_id
ORDER BY k.id
