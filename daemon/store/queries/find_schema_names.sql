-- The names of schemas and of the tables in them, for suggestions; the system's own are left out.
SELECT n.nspname AS schema_name, c.relname AS table_name
FROM pg_namespace AS n LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'hark')
