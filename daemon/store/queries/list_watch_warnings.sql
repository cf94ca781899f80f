-- Columns that workflows of a tenant ($1) use and that are gone: of one workflow ($2; NULL: all), or of those that watch
-- one table (schema $3, name $4; NULL: all).
SELECT x.warning ->> 'text' AS text
FROM hark.watches AS w
CROSS JOIN LATERAL jsonb_array_elements(w.warnings) WITH ORDINALITY AS x (warning, place)
WHERE w.active AND x.warning ->> 'tenant' = $1::uuid::text
  AND ($2::uuid IS NULL OR x.warning ->> 'workflow' = $2::uuid::text)
  AND ($3::text IS NULL OR w.schema_name = $3 AND w.table_name = $4)
ORDER BY w.schema_name, w.table_name, x.place
LIMIT 100
