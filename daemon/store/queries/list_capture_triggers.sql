-- Every trigger of ours on the tables $1, or in the database for NULL. Copies that PostgreSQL itself made for partitions
-- go with their original.
SELECT t.tgrelid AS relation, t.tgrelid::regclass::text AS label, t.tgname AS name,
       t.tgenabled IN ('O', 'A') AS enabled,
       -- Each ends in a zero byte, also the last one.
       (string_to_array(encode(t.tgargs, 'escape'), '\000'))[:t.tgnargs] AS arguments
FROM pg_trigger AS t
     JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.pronamespace = 'hark'::regnamespace AND p.proname ^@ 'capture_'
WHERE t.tgparentid = 0
  AND ($1::oid[] IS NULL OR t.tgrelid = ANY ($1::oid[]))
