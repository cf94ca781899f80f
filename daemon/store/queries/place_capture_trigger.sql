-- Makes or replaces a trigger: $1 table, $2 name, $3 operation, $4 level, $5 SQL of WHEN or NULL, $6 arguments.
SELECT hark.place_capture($1::oid, $2, $3, $4, $5, $6::text[])
