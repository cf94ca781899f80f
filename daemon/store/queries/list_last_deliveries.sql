-- The latest event of each of these routes, and how what it started stands. Executions carry the time of their event in their
-- ids, so the primary key finds them.
SELECT u.route, last.id AS event_id, last.at, started.outcome
FROM unnest($2::text[]) AS u (route)
CROSS JOIN LATERAL (
    SELECT v.id, hark.id_time(v.id) AS at
    FROM hark.events AS v
    WHERE v.route = u.route AND v.tenant_id = $1
    ORDER BY v.id DESC
    LIMIT 1
) AS last
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT e.status, ', ' ORDER BY e.status) AS outcome
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.event_id = last.id AND e.part IS NULL
      AND e.id >= hark.id_floor(last.at) AND e.id < hark.id_floor(last.at + interval '1 millisecond')
) AS started
