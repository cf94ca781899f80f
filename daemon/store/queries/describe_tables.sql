-- What capture has to know about tables: $1 schemas, $2 names, pairwise. Those that do not exist are left out.
SELECT w.schema_name, w.table_name, c.oid, c.oid::regclass::text AS label, c.relkind::text AS kind,
       c.relpersistence::text AS persistence, current_setting('server_encoding') AS encoding, has_table_privilege(c.oid, 'TRIGGER') AS may_trigger,
       (SELECT min(i.inhparent::regclass::text) FROM pg_inherits AS i WHERE i.inhrelid = c.oid) AS parent,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(
                   a.attname, format_type(a.atttypid, a.atttypmod),
                   -- An enum with a cast of its own to JSON looks like nothing that anybody knows; to text, a condition.
                   CASE WHEN t.typtype = 'e' AND EXISTS (SELECT FROM pg_cast AS k WHERE k.castsource = t.oid
                                                         AND k.casttarget IN ('json'::regtype, 'text'::regtype))
                       THEN 'b' ELSE t.typtype END,
                   a.attgenerated) ORDER BY a.attnum), '[]')
        FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (WITH RECURSIVE tree AS (
            SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = c.oid AND NOT i.inhdetachpending
            UNION
            SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON i.inhparent = tree.inhrelid
            WHERE NOT i.inhdetachpending
        )
        SELECT coalesce(jsonb_agg(jsonb_build_array(d.oid::bigint, d.oid::regclass, d.relkind) ORDER BY d.oid), '[]')
        FROM tree JOIN pg_class AS d ON d.oid = tree.inhrelid) AS descendants
FROM unnest($1::text[], $2::text[]) AS w (schema_name, table_name)
JOIN pg_namespace AS n ON n.nspname = w.schema_name
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
