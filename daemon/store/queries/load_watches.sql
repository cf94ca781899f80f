-- Tables that are or were watched, and who is interested in what: $1 schemas, $2 names, pairwise; NULL for all.
SELECT w.id, w.schema_name, w.table_name, w.subscriptions, w.unseen, w.active
FROM hark.watches AS w
WHERE $1::text[] IS NULL
   OR (w.schema_name, w.table_name) IN (SELECT u.schema_name, u.table_name
                                        FROM unnest($1::text[], $2::text[]) AS u (schema_name, table_name))
