-- For each of $1 the stored events that it looks for, oldest first, $2 at the most.
SELECT u.number, v.id, v.type, v.source, v.subject_kind, v.subject_id, v.data, v.occurred_at
FROM unnest($1::hark.awaited_event[]) WITH ORDINALITY AS u (tenant_id, route, first, key_path, key, number)
CROSS JOIN LATERAL (
    SELECT e.id, e.type, e.source, e.subject_kind, e.subject_id, e.data, e.occurred_at
    FROM hark.events AS e
    WHERE e.tenant_id = u.tenant_id AND e.route = u.route AND e.id >= u.first AND hark.wait_key(e.data, u.key_path) = u.key
    ORDER BY e.id
    LIMIT $2
) AS v
ORDER BY u.number, v.id
