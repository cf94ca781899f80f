-- A page of the events of one route ($8), newest first: $2 > id >= $3; $4 type, $5 kind, $6 matched (NULL: whatever).
SELECT v.id, v.kind, v.type, v.source, v.route, v.subject_kind, v.subject_id, v.occurred_at, v.dedupe_key, v.depth,
       v.caused_by, v.matched, hark.id_time(v.id) AS created_at
FROM hark.events AS v
WHERE v.tenant_id = $1 AND v.route = $8 AND v.id < $2 AND v.id >= $3
  AND ($4::text IS NULL OR v.type = $4) AND ($5::text IS NULL OR v.kind = $5) AND ($6::boolean IS NULL OR v.matched = $6)
ORDER BY v.id DESC
LIMIT $7
