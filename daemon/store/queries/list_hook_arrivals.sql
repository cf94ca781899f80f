-- What has arrived on a path that is open for trying out, after an id, the oldest first.
SELECT a.id, a.data, hark.id_time(a.id) AS at
FROM hark.hook_arrivals AS a
WHERE a.tenant_id = $1 AND a.path = $2 AND a.id > $3
ORDER BY a.id
LIMIT $4
