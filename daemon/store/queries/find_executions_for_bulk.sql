-- Executions that many are to be retried, replayed or cancelled of, oldest first: $2 workflow, $3 statuses, $4 to $5 ids,
-- $6 class of the error. With $7 only such as nothing has repeated yet: retries carry the event's time in their ids too.
-- Status by status, as executions_not_completed finds them; together all in the span would be sorted for each page.
WITH candidates AS NOT MATERIALIZED (
    SELECT e.tenant_id, e.id, e.workflow_id, e.event_id, e.ordinal, e.status
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND ($2::uuid IS NULL OR e.workflow_id = $2) AND e.id >= $4 AND e.id < $5
      AND ($6::text IS NULL OR e.error ->> 'class' = $6) AND e.part IS NULL
      AND NOT ($7 AND EXISTS (
          SELECT FROM hark.workflow_executions AS f
          WHERE f.tenant_id = e.tenant_id AND f.workflow_id = e.workflow_id AND f.event_id = e.event_id
            AND f.ordinal > e.ordinal
            AND f.id >= (left(e.id::text, 13) || '-0000-0000-000000000000')::uuid
            AND f.id <= (left(e.id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid
      ))
), found AS (
    SELECT one.*
    FROM unnest($3::text[]) AS wanted (status)
    CROSS JOIN LATERAL (
        (SELECT c.id, c.workflow_id, c.status FROM candidates AS c
         WHERE c.status = wanted.status AND c.status <> 'completed' ORDER BY c.id LIMIT $8)
        UNION ALL
        (SELECT c.id, c.workflow_id, c.status FROM candidates AS c
         WHERE wanted.status = 'completed' AND c.status = 'completed' ORDER BY c.id LIMIT $8)
    ) AS one
    ORDER BY one.id
    LIMIT $8
)
SELECT f.id, w.slug AS workflow, f.status
FROM found AS f
JOIN hark.workflows AS w ON w.tenant_id = $1 AND w.id = f.workflow_id
ORDER BY f.id
