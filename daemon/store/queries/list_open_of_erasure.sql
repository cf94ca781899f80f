-- What is open of some executions ($2), or is about something else and has one of some events ($3).
SELECT e.id, e.status, w.slug AS workflow
FROM (
    SELECT o.id FROM hark.workflow_executions AS o WHERE o.tenant_id = $1 AND o.id = ANY ($2::uuid[]) AND o.completed_at IS NULL
    UNION
    SELECT o.id FROM unnest($3::uuid[]) AS v (id) CROSS JOIN LATERAL (
        SELECT x.id FROM hark.workflow_executions AS x
        WHERE x.tenant_id = $1 AND x.event_id = v.id AND x.completed_at IS NULL
          AND x.id BETWEEN hark.first_beside(v.id) AND hark.last_beside(v.id)
        OFFSET 0) AS o
) AS found
JOIN hark.workflow_executions AS e ON e.tenant_id = $1 AND e.id = found.id
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
ORDER BY e.id
