-- The schema, whose it is, and whether the current user may use it.
SELECT n.nspowner::regrole::text AS owner, current_user::text AS who, has_schema_privilege(n.oid, 'USAGE') AS may_use
FROM pg_namespace AS n
WHERE n.nspname = 'hark'
