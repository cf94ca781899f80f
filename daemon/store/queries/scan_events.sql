-- Stored events of a route ($2) from an id ($3) on, oldest first, with a key ($5) at a place in their data ($4).
SELECT v.id, v.type, v.source, v.subject_kind, v.subject_id, v.data, v.occurred_at
FROM hark.events AS v
WHERE v.tenant_id = $1 AND v.route = $2 AND v.id >= $3 AND hark.wait_key(v.data, $4::text[]) = $5
ORDER BY v.id
LIMIT $6
