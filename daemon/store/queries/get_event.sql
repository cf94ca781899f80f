-- One event with its data.
SELECT v.id, v.kind, v.type, v.source, v.route, v.subject_kind, v.subject_id, v.occurred_at, v.dedupe_key, v.depth,
       v.caused_by, v.matched, v.passed_over, hark.id_time(v.id) AS created_at, v.data
FROM hark.events AS v
WHERE v.tenant_id = $1 AND v.id = $2
