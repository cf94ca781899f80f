-- Events of one route with their data, newest first: $3 > id >= $4, $5 at the most.
SELECT v.id, v.kind, v.type, v.source, v.route, v.subject_kind, v.subject_id, v.occurred_at, v.depth, v.caused_by,
       hark.id_time(v.id) AS created_at, v.data
FROM hark.events AS v
WHERE v.tenant_id = $1 AND v.route = $2 AND v.id < $3 AND v.id >= $4
ORDER BY v.id DESC
LIMIT $5
