-- Cancels open executions of an archived workflow, behind $4 and at most $5; $3 is their error. Gives how many it found open,
-- how many of them it cancelled or asked, and how many have ended by that; who is just being written is left for the next time.
WITH found AS MATERIALIZED (
    SELECT e.id FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.status IN ('pending', 'running', 'waiting') AND e.id > $4
      AND EXISTS (SELECT FROM hark.workflows AS w WHERE w.tenant_id = $1 AND w.id = $2 AND w.status = 'archived')
    ORDER BY e.id
    LIMIT $5
)
SELECT (SELECT count(*) FROM found) AS found,
       (SELECT f.id FROM found AS f ORDER BY f.id DESC LIMIT 1) AS last,
       c.cancelled, c.ended
FROM hark.cancel_executions($1, ARRAY(SELECT f.id FROM found AS f), $3::jsonb) AS c
