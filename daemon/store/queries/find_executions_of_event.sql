-- The executions of one event. They carry its time in their ids ($3 to $4), so the primary key finds them; and the batches
-- that it has joined.
SELECT found.id
FROM (
    SELECT e.id, e.ordinal
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.event_id = $2 AND e.part IS NULL AND e.id >= $3 AND e.id < $4
    UNION ALL
    SELECT d.detail::uuid, 0
    FROM hark.event_decisions AS d
    WHERE d.tenant_id = $1 AND d.event_id = $2 AND d.reason = 'batched'
) AS found
ORDER BY found.ordinal, found.id
