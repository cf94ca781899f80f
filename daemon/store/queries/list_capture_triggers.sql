-- Every trigger of ours on the tables $1, or in the database for NULL. Copies that PostgreSQL itself made for partitions
-- go with their original.
SELECT t.tgrelid AS relation, t.tgrelid::regclass::text AS label, t.tgname AS name,
       t.tgenabled IN ('O', 'A') AS enabled,
       string_to_array(rtrim(encode(t.tgargs, 'escape'), '\000'), '\000') AS arguments
FROM pg_trigger AS t
WHERE t.tgfoid IN ('hark.capture_change'::regproc, 'hark.capture_formatted'::regproc) AND t.tgparentid = 0
  AND ($1::oid[] IS NULL OR t.tgrelid = ANY ($1::oid[]))
