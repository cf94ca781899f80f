-- Events of row changes as a live tail shows them, oldest first: what has more than $3 bytes, without its rows.
SELECT v.id AS event_id, v.occurred_at, hark.id_time(v.id) AS at, v.matched, v.passed_over, d.cut,
       CASE WHEN d.cut THEN v.data - '{old,new,rows}'::text[] ELSE v.data END AS data
FROM hark.events AS v
CROSS JOIN LATERAL (SELECT octet_length(v.data::text) > $3 AS cut) AS d
WHERE v.tenant_id = $1 AND v.id = ANY ($2::uuid[])
ORDER BY v.id
