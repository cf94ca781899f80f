-- A table that is to be read in the order of a key: $1 schema, $2 name. Its key is the primary one, else a unique index
-- over columns that are never NULL; `ordered` tells whether PostgreSQL itself knows the order of all its types.
SELECT c.oid, c.relkind::text AS kind,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid) AS has_children,
       (SELECT greatest(sum(greatest(p.reltuples, 0)), 0)::bigint
        FROM pg_class AS p
        WHERE p.oid = c.oid AND c.relkind = 'r'
           OR c.relkind = 'p' AND p.oid IN (SELECT x.relid FROM pg_partition_tree(c.oid) AS x WHERE x.isleaf)) AS estimate,
       (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 'v') AS unseen,
       k.columns, k.types, k.ordered
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT i.indexrelid, i.indisprimary, array_agg(a.attname::text ORDER BY u.place) AS columns,
           array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY u.place) AS types,
           bool_and(b.typtype = 'e' OR b.typnamespace = 'pg_catalog'::regnamespace) AS ordered
    FROM pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS u (number, place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.number
    JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL AND u.place <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indisprimary
    HAVING bool_and(a.attnotnull)
    ORDER BY 5 DESC, i.indisprimary DESC, count(*), i.indexrelid
    LIMIT 1
) AS k ON true
WHERE n.nspname = $1 AND c.relname = $2
