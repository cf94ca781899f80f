-- Cancels open executions of an archived workflow, behind $4 and at most $5; those that run are asked once, by way of their
-- instance. $3 is the error of the others. Gives how many it found open, how
-- many of them it cancelled or asked, and how many have ended by that.
-- Their lanes are locked first, as by everybody who starts or ends something there; who is just being written is left for
-- the next time.
WITH found AS MATERIALIZED (
    SELECT e.id FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.status IN ('pending', 'running', 'waiting') AND e.id > $4
      AND EXISTS (SELECT FROM hark.workflows AS w WHERE w.tenant_id = $1 AND w.id = $2 AND w.status = 'archived')
    ORDER BY e.id
    LIMIT $5
), lanes AS MATERIALIZED (
    SELECT hark.lock_lanes(array_agg(s.tenant_id), array_agg(s.lane_id)) AS locked
    FROM found AS f JOIN hark.slots AS s ON s.tenant_id = $1 AND s.execution_id = f.id
), held AS MATERIALIZED (
    SELECT e.id FROM lanes
    CROSS JOIN hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.id = ANY (ARRAY(SELECT id FROM found))
      AND (e.status IN ('pending', 'waiting') OR (e.status = 'running' AND e.cancel_requested_at IS NULL))
    ORDER BY e.id
    FOR NO KEY UPDATE OF e SKIP LOCKED
), cancelled AS (
    UPDATE hark.workflow_executions AS e
    SET cancel_requested_at = now(),
        status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
        completed_at = CASE WHEN e.status = 'running' THEN NULL ELSE now() END,
        due_at = CASE WHEN e.status = 'running' THEN e.due_at END,
        pending_reason = NULL,
        error = CASE WHEN e.status = 'running' THEN e.error ELSE $3::jsonb END
    FROM held
    WHERE e.tenant_id = $1 AND e.id = held.id AND e.status IN ('pending', 'running', 'waiting')
    RETURNING e.id, e.status
), noted AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, detail)
    SELECT $1, c.id, hark.new_id(), 'execution.cancel_requested', jsonb_build_object('reason', $3::jsonb ->> 'message')
    FROM cancelled AS c
), told AS MATERIALIZED (
    SELECT pg_notify('hark_cancel', c.id::text) AS it FROM cancelled AS c WHERE c.status = 'running'
)
SELECT (SELECT count(*) FROM found) AS found,
       (SELECT f.id FROM found AS f ORDER BY f.id DESC LIMIT 1) AS last,
       (SELECT count(*) FROM cancelled) AS cancelled,
       (SELECT count(*) FROM cancelled AS c WHERE c.status <> 'running') AS ended,
       (SELECT count(it) FROM told) AS told
