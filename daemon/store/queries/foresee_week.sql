-- What would become of a tenant's executions between two ids, by workflow. $6: the week goes whole. $7 to $9: the walks over
-- what goes row by row (list_walks.sql); the tenant's own has no workflow.
WITH walks AS MATERIALIZED (
    SELECT w.workflow_id, w.until, w.whatever_age
    FROM unnest($7::uuid[], $8::uuid[], $9::boolean[]) AS w (workflow_id, until, whatever_age)
), looked_at AS (
    SELECT e.tenant_id, e.id, e.workflow_id, e.event_id, e.completed_at, e.kept_until, e.parent_id, e.parent_path,
           e.status IN ('failed', 'timeout') AS failed,
           hark.is_past(e.status, e.completed_at, e.kept_until, coalesce(o.kept_since, r.kept_since),
                        coalesce(o.failed_since, r.failed_since)) AS past,
           $6::boolean OR e.id < t.until OR coalesce(e.id < a.until, false) AS reached,
           coalesce(e.id < c.until, false) AND e.completed_at IS NOT NULL
               AND coalesce(e.kept_until < now(), true) AS counted_out
    FROM hark.workflow_executions AS e
    JOIN hark.retention_of($2, $3) AS r ON r.tenant_id = e.tenant_id
    LEFT JOIN hark.own_retention($2, $3) AS o ON o.tenant_id = e.tenant_id AND o.workflow_id = e.workflow_id
    LEFT JOIN walks AS t ON t.workflow_id IS NULL
    LEFT JOIN walks AS a ON a.workflow_id = e.workflow_id AND NOT a.whatever_age
    LEFT JOIN walks AS c ON c.workflow_id = e.workflow_id AND c.whatever_age
    WHERE e.tenant_id = $1 AND e.id >= $4 AND e.id < $5 AND ($10::uuid IS NULL OR e.workflow_id = $10)
), judged AS (
    SELECT l.workflow_id, l.event_id,
           CASE WHEN l.completed_at IS NULL THEN 'open'
                WHEN l.kept_until >= now() THEN 'restored'
                WHEN NOT l.past AND NOT l.counted_out THEN CASE WHEN l.failed THEN 'failed' ELSE 'recent' END
                WHEN NOT l.counted_out AND NOT l.reached THEN 'week'
                WHEN (l.parent_id IS NOT NULL AND hark.is_awaited(l.tenant_id, l.parent_id, l.parent_path))
                     OR EXISTS (SELECT FROM hark.workflow_executions AS p
                                WHERE p.tenant_id = l.tenant_id AND p.parent_id = l.id AND p.completed_at IS NULL)
                    THEN 'needed'
           END AS stays_as,
           CASE WHEN NOT l.past THEN 'count' WHEN l.failed THEN 'failed' ELSE 'for' END AS policy
    FROM looked_at AS l
)
SELECT coalesce(w.slug, j.workflow_id::text) AS workflow, j.stays_as,
       CASE WHEN j.stays_as IS NULL THEN j.policy END AS policy,
       count(*) AS executions, count(DISTINCT j.event_id) AS events
FROM judged AS j LEFT JOIN hark.workflows AS w ON w.tenant_id = $1 AND w.id = j.workflow_id
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
