-- The tables whose changes are captured, with the state of their triggers and what waits to become events.
SELECT w.schema_name, w.table_name, w.problem, c.oid IS NOT NULL AS found, t.triggers, t.disabled, r.backlog, r.parked
FROM hark.watches AS w
LEFT JOIN pg_namespace AS n ON n.nspname = w.schema_name
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name AND c.relkind IN ('r', 'p')
CROSS JOIN LATERAL (
    SELECT count(*) AS triggers, count(*) FILTER (WHERE g.tgenabled = 'D') AS disabled
    FROM pg_trigger AS g
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgname LIKE 'hark\_capture\_%'
) AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS backlog, count(*) FILTER (WHERE p.parked_at IS NOT NULL) AS parked
    FROM (SELECT x.parked_at FROM hark.row_changes AS x WHERE x.watch_id = w.id LIMIT 10000) AS p
) AS r
WHERE w.active
ORDER BY w.schema_name, w.table_name
