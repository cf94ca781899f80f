-- Events that have the keys of waits ($1 tenants, $2 executions, $3 paths), oldest first; $4 of each at the most.
SELECT u.number, v.id, v.type, v.source, v.subject_kind, v.subject_id, v.data, v.occurred_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS u (tenant_id, execution_id, path, number)
CROSS JOIN LATERAL (
    SELECT e.id, e.type, e.source, e.subject_kind, e.subject_id, e.data, e.occurred_at
    FROM hark.event_hits AS h
    JOIN hark.events AS e ON e.tenant_id = h.tenant_id AND e.id = h.event_id
    WHERE h.tenant_id = u.tenant_id AND h.execution_id = u.execution_id AND h.path = u.path
    ORDER BY h.event_id
    LIMIT $4
) AS v
ORDER BY u.number, v.id
