-- What the daemon needs in its schema and the current user may not do, with the statement that would allow it.
WITH relations AS (
    SELECT c.oid, c.relkind, c.relowner, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'hark' AND NOT c.relispartition
)
SELECT p.privilege || ' on schema hark' AS what, format('GRANT %s ON SCHEMA hark TO %I', p.privilege, current_user) AS remedy
FROM unnest(ARRAY['CREATE']) AS p (privilege)
WHERE NOT has_schema_privilege('hark', p.privilege)
UNION ALL
SELECT p.privilege || ' on ' || r.name, format('GRANT %s ON %s TO %I', p.privilege, r.name, current_user)
FROM relations AS r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
WHERE r.relkind IN ('r', 'p') AND NOT has_table_privilege(r.oid, p.privilege)
UNION ALL
SELECT p.privilege || ' on ' || r.name, format('GRANT %s ON SEQUENCE %s TO %I', p.privilege, r.name, current_user)
FROM relations AS r, unnest(ARRAY['SELECT', 'UPDATE']) AS p (privilege)
WHERE r.relkind = 'S' AND NOT has_sequence_privilege(r.oid, p.privilege)
UNION ALL
SELECT 'EXECUTE on ' || f.name, format('GRANT EXECUTE ON FUNCTION %s TO %I', f.name, current_user)
FROM (
    SELECT p.oid, format('hark.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = 'hark' AND p.prokind = 'f'
) AS f
WHERE NOT has_function_privilege(f.oid, 'EXECUTE')
UNION ALL
-- Only the owner of a table may give it partitions.
SELECT 'ownership of ' || r.name, format('ALTER TABLE %s OWNER TO %I', r.name, current_user)
FROM relations AS r
WHERE r.relkind = 'p' AND NOT pg_has_role(r.relowner, 'USAGE')
