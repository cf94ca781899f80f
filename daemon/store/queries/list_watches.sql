-- The tables whose changes are captured: which operations they should be captured for, for which ones a trigger fires,
-- and how many changes wait to become events (counted up to 10,000). $1 schema and $2 name of one table; NULL: all.
SELECT w.schema_name, w.table_name, w.problem, w.warnings, c.oid IS NOT NULL AS found,
       c.oid IS NOT NULL AND has_table_privilege(c.oid, 'TRIGGER') AS may_place,
       ARRAY(SELECT DISTINCT o.operation
             FROM jsonb_array_elements(w.subscriptions) AS s (subscription),
                  jsonb_array_elements_text(s.subscription -> 'operations') AS o (operation)
             ORDER BY o.operation) AS wanted,
       t.captured, t.disabled, t.filtered, k.key, r.backlog, r.parked
FROM hark.watches AS w
LEFT JOIN pg_namespace AS n ON n.nspname = w.schema_name
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name AND c.relkind IN ('r', 'p')
CROSS JOIN LATERAL (
    -- pg_trigger.tgtype: 4 insert, 8 delete, 16 update, 32 truncate. A trigger whose first argument is 0 never fires.
    SELECT coalesce(array_agg(DISTINCT k.operation) FILTER (WHERE g.tgenabled IN ('O', 'A')), '{}') AS captured,
           coalesce(array_agg(DISTINCT k.operation) FILTER (WHERE g.tgenabled NOT IN ('O', 'A')), '{}') AS disabled,
           coalesce(array_agg(DISTINCT k.operation) FILTER (WHERE g.tgqual IS NOT NULL), '{}') AS filtered
    FROM pg_trigger AS g
    JOIN (VALUES (4, 'insert'), (8, 'delete'), (16, 'update'), (32, 'truncate')) AS k (bit, operation)
        ON g.tgtype & k.bit <> 0
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgname LIKE 'hark\_capture\_%'
      AND NOT encode(g.tgargs, 'escape') ^@ '0\000'
) AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS backlog, count(*) FILTER (WHERE p.parked_at IS NOT NULL) AS parked
    FROM (SELECT x.parked_at FROM hark.row_changes AS x WHERE x.watch_id = w.id LIMIT 10000) AS p
) AS r
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(a.attname::text ORDER BY u.place), '{}') AS key
    FROM pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS u (number, place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.number
    WHERE i.indrelid = c.oid AND i.indisprimary AND u.place <= i.indnkeyatts
) AS k
WHERE w.active AND ($1::text IS NULL OR w.schema_name = $1 AND w.table_name = $2)
ORDER BY w.schema_name, w.table_name
