-- Answers a question that is open, puts it on the timeline and wakes its execution; no row when it has ended.
-- The execution is locked first: it cannot end in between, and the engine takes its locks in the same order. The
-- update asks the row itself once more: whoever has answered or closed it meanwhile was quicker.
WITH execution AS MATERIALIZED (
    SELECT e.id FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.id = $2 AND e.completed_at IS NULL
    FOR NO KEY UPDATE
), answered AS (
    UPDATE hark.waits AS w SET answer = $4::jsonb, answered_at = now(), answered_by = $5
    FROM execution AS e
    JOIN hark.approvals AS a ON a.tenant_id = $1 AND a.execution_id = e.id AND a.path = $3 AND a.is_open
    WHERE w.tenant_id = $1 AND w.execution_id = e.id AND w.path = $3
      AND hark.takes_answer(w.answered_at, w.closed_at, w.until)
    RETURNING w.execution_id, w.path
), noted AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, path, detail)
    SELECT $1, a.execution_id, hark.new_id(), $6, a.path, $4::jsonb - 'form' FROM answered AS a
)
SELECT a.path, hark.wake_executions($1, ARRAY[a.execution_id]) FROM answered AS a
