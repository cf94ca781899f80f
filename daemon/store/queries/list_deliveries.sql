-- A page of the events of a route, newest first ($2 > id >= $3), each with what it started. Executions carry the time of their
-- event in their ids, so the primary key finds them.
WITH page AS MATERIALIZED (
    SELECT v.id, v.matched, v.dedupe_key, v.occurred_at, hark.id_time(v.id) AS created_at
    FROM hark.events AS v
    WHERE v.route = $4 AND v.tenant_id = $1 AND v.id < $2 AND v.id >= $3
    ORDER BY v.id DESC
    LIMIT $5
)
SELECT p.id, p.matched, p.dedupe_key, p.occurred_at, p.created_at, started.executions
FROM page AS p
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'workflow', w.slug, 'status', e.status) ORDER BY e.id), '[]')
        AS executions
    FROM hark.workflow_executions AS e
    JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
    WHERE e.tenant_id = $1 AND e.event_id = p.id AND e.part IS NULL
      AND e.id >= hark.id_floor(p.created_at) AND e.id < hark.id_floor(p.created_at + interval '1 millisecond')
) AS started
ORDER BY p.id DESC
