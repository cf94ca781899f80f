-- The tables of the schema with their sizes and, as the planner estimates them, their rows; partitions are added up.
SELECT c.relname AS name, sum(greatest(p.reltuples, 0))::bigint AS rows, sum(pg_total_relation_size(p.oid))::bigint AS bytes
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_partition_tree(c.oid) AS t
JOIN pg_class AS p ON p.oid = t.relid AND p.relkind = 'r'
WHERE n.nspname = 'hark' AND c.relkind = 'p' AND NOT c.relispartition
GROUP BY c.relname
UNION ALL
SELECT c.relname, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'hark' AND c.relkind = 'r' AND NOT c.relispartition
ORDER BY name
