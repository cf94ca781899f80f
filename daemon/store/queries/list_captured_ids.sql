-- The events of two routes ($2, $3) in a stretch of time, $4 < id <= $5, oldest first, $6 of them.
SELECT f.id
FROM (
    (SELECT r.id FROM hark.events AS r
     WHERE r.tenant_id = $1 AND r.route = $2 AND r.id > $4 AND r.id <= $5 ORDER BY r.id LIMIT $6)
    UNION ALL
    (SELECT s.id FROM hark.events AS s
     WHERE s.tenant_id = $1 AND s.route = $3 AND s.id > $4 AND s.id <= $5 ORDER BY s.id LIMIT $6)
) AS f
ORDER BY f.id
LIMIT $6
