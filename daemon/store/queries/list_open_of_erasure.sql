-- What is open of some executions ($2), or is about something else and has one of some events ($3).
SELECT found.id, found.status, w.slug AS workflow
FROM (
    SELECT o.id, o.status, o.workflow_id
    FROM hark.workflow_executions AS o WHERE o.tenant_id = $1 AND o.id = ANY ($2::uuid[]) AND o.completed_at IS NULL
    UNION
    SELECT o.id, o.status, o.workflow_id FROM unnest($3::uuid[]) AS v (id) CROSS JOIN LATERAL (
        SELECT x.id, x.status, x.workflow_id FROM hark.workflow_executions AS x
        WHERE x.tenant_id = $1 AND x.event_id = v.id AND x.completed_at IS NULL
          AND x.id BETWEEN hark.first_beside(v.id) AND hark.last_beside(v.id)
        OFFSET 0) AS o
) AS found
-- OFFSET 0: one after the other, by key, however many are expected.
CROSS JOIN LATERAL (SELECT f.slug FROM hark.workflows AS f WHERE f.tenant_id = $1 AND f.id = found.workflow_id OFFSET 0) AS w
ORDER BY found.id
