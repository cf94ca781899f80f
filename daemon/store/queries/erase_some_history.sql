-- Erases some of an archived workflow's executions that have ended, with all that belongs to them; how many. Large histories go
-- piece by piece; what has been published again meanwhile keeps its own.
WITH piece AS MATERIALIZED (
    SELECT array_agg(e.id) AS ids
    FROM (SELECT id FROM hark.workflow_executions WHERE tenant_id = $1 AND workflow_id = $2 AND completed_at IS NOT NULL
          AND EXISTS (SELECT FROM hark.workflows AS w WHERE w.tenant_id = $1 AND w.id = $2 AND w.status = 'archived')
          LIMIT $3) AS e
)
SELECT coalesce(cardinality(ids), 0) AS count, CASE WHEN ids IS NOT NULL THEN hark.erase_executions($1, ids) END AS done
FROM piece
