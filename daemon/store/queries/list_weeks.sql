-- The partitions of the history: the ids that each spans, its bytes over all tables, and whether it goes whole. From the
-- oldest to those in which nothing of a tenant can be past.
WITH parts AS (
    SELECT regexp_replace(c.relname, '^.*_', '') AS name, sum(pg_total_relation_size(c.oid))::bigint AS bytes
    FROM unnest(hark.history_tables()) AS h (parent)
    JOIN pg_inherits AS i ON i.inhparent = ('hark.' || h.parent)::regclass
    JOIN pg_class AS c ON c.oid = i.inhrelid
    GROUP BY 1
), spans AS (
    SELECT p.name, p.bytes,
           CASE WHEN p.name = 'oldest' THEN '-infinity' ELSE hark.week_start(p.name) END AS since,
           CASE WHEN p.name = 'oldest' THEN hark.week_start(hark.oldest_week())
                ELSE hark.week_start(p.name) + interval '7 days' END AS until
    FROM parts AS p
)
SELECT s.name, s.bytes,
       CASE WHEN s.name = 'oldest' THEN '00000000-0000-0000-0000-000000000000' ELSE hark.id_floor(s.since) END AS first,
       hark.id_floor(s.until) AS until,
       s.name <> 'oldest' AND s.until <= (SELECT min(r.kept_since) FROM hark.retention_of($1, $2) AS r) AS whole
FROM spans AS s
WHERE s.since < now()
ORDER BY s.since
