-- The latest event of each of these routes.
SELECT u.route, last.id AS event_id, hark.id_time(last.id) AS at, last.matched
FROM unnest($2::text[]) AS u (route)
CROSS JOIN LATERAL (
    SELECT v.id, v.matched FROM hark.events AS v WHERE v.route = u.route AND v.tenant_id = $1 ORDER BY v.id DESC LIMIT 1
) AS last
