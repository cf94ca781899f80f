-- All that is in schema $1, as (kind, relation, name, definition); partitions are left out, with all that is on them.
WITH relations AS (
    SELECT c.* FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND NOT c.relispartition AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
), indexes AS (
    SELECT i.indexrelid, i.indisvalid, x.relname AS index_name, r.relname
    FROM relations AS r JOIN pg_index AS i ON i.indrelid = r.oid JOIN pg_class AS x ON x.oid = i.indexrelid
), functions AS (
    SELECT p.oid, p.proacl, p.proowner, format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.prokind IN ('f', 'p')
      AND NOT p.proname ^@ 'wants_'  -- what conditions of row capture look into; they come and go with their triggers
), types AS (
    SELECT t.* FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE n.nspname = $1 AND t.typtype IN ('d', 'e', 'r')
)
SELECT 'table' AS kind, NULL::text AS relation, r.relname::text AS name,
       concat_ws('; ', CASE r.relkind WHEN 'p' THEN pg_get_partkeydef(r.oid) ELSE 'plain' END,
                 'persistence ' || r.relpersistence::text,
                 'with ' || array_to_string(ARRAY(SELECT unnest(r.reloptions) ORDER BY 1), ', '),
                 'toast with ' || array_to_string(ARRAY(SELECT unnest(t.reloptions) ORDER BY 1), ', '),
                 CASE WHEN r.relrowsecurity THEN 'row level security' END,
                 CASE WHEN r.relforcerowsecurity THEN 'forced' END) AS definition
FROM relations AS r LEFT JOIN pg_class AS t ON t.oid = r.reltoastrelid
WHERE r.relkind IN ('r', 'p', 'f')
UNION ALL
SELECT 'view', NULL, r.relname, concat_ws(' ', array_to_string(r.reloptions, ', '), pg_get_viewdef(r.oid))
FROM relations AS r WHERE r.relkind IN ('v', 'm')
UNION ALL
SELECT 'sequence', NULL, r.relname,
       format('%s start %s increment %s from %s to %s cache %s cycle %s', format_type(s.seqtypid, NULL), s.seqstart,
              s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
FROM relations AS r JOIN pg_sequence AS s ON s.seqrelid = r.oid
UNION ALL
SELECT 'column', r.relname, a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                 CASE WHEN a.attcollation <> y.typcollation THEN 'COLLATE ' || a.attcollation::regcollation::text END,
                 CASE WHEN a.attgenerated <> '' THEN 'GENERATED ' || a.attgenerated::text
                      WHEN d.oid IS NOT NULL THEN 'DEFAULT' END,
                 pg_get_expr(d.adbin, d.adrelid), 'IDENTITY ' || nullif(a.attidentity::text, ''),
                 CASE WHEN a.attstorage <> y.typstorage THEN 'STORAGE ' || a.attstorage::text END)
FROM relations AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS y ON y.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'f')
UNION ALL
-- From version 18 on NOT NULL is a constraint as well; it stands with its column.
SELECT 'constraint', r.relname, c.conname, pg_get_constraintdef(c.oid)
FROM relations AS r JOIN pg_constraint AS c ON c.conrelid = r.oid
WHERE c.contype NOT IN ('n', 't')
UNION ALL
SELECT 'index', i.relname, i.index_name, pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' (not valid)' END
FROM indexes AS i
UNION ALL
SELECT 'trigger', r.relname, t.tgname, pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' ELSE ' (' || t.tgenabled::text || ')' END
FROM relations AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid
WHERE NOT t.tgisinternal
UNION ALL
SELECT 'policy', r.relname, p.polname,
       format('%s for %s to %s using %s with check %s', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
              p.polcmd, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
FROM relations AS r JOIN pg_policy AS p ON p.polrelid = r.oid
UNION ALL
SELECT 'function', NULL, f.name,
       pg_get_functiondef(f.oid) || CASE WHEN EXISTS (
           SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS g
           WHERE g.grantee = 0 AND g.privilege_type = 'EXECUTE') THEN 'executable by everybody' ELSE 'private' END
FROM functions AS f
UNION ALL
SELECT 'type', NULL, t.typname,
       concat_ws(' ', format_type(nullif(t.typbasetype, 0), t.typtypmod), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
                 t.typdefault,
                 (SELECT string_agg(pg_get_constraintdef(c.oid), ' ' ORDER BY c.conname) FROM pg_constraint AS c
                  WHERE c.contypid = t.oid AND c.contype <> 'n'),
                 (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid))
FROM types AS t
UNION ALL
SELECT 'comment', o.relation, o.name, d.description
FROM (
    SELECT 'pg_namespace'::regclass AS class, n.oid, 0 AS part, NULL::text AS relation, 'schema' AS name
    FROM pg_namespace AS n WHERE n.nspname = $1
    UNION ALL
    SELECT 'pg_class'::regclass, r.oid, 0, r.relname, 'relation' FROM relations AS r
    UNION ALL
    SELECT 'pg_class'::regclass, r.oid, a.attnum, r.relname, 'column ' || a.attname
    FROM relations AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0
    UNION ALL
    SELECT 'pg_class'::regclass, i.indexrelid, 0, i.relname, 'index ' || i.index_name FROM indexes AS i
    UNION ALL
    SELECT 'pg_constraint'::regclass, c.oid, 0, r.relname, 'constraint ' || c.conname
    FROM relations AS r JOIN pg_constraint AS c ON c.conrelid = r.oid
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, 0, r.relname, 'trigger ' || t.tgname
    FROM relations AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid, 0, r.relname, 'policy ' || p.polname
    FROM relations AS r JOIN pg_policy AS p ON p.polrelid = r.oid
    UNION ALL
    SELECT 'pg_proc'::regclass, f.oid, 0, NULL, 'function ' || f.name FROM functions AS f
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, 0, NULL, 'type ' || t.typname FROM types AS t
) AS o
JOIN pg_description AS d ON d.classoid = o.class AND d.objoid = o.oid AND d.objsubid = o.part
ORDER BY 1, 2, 3
