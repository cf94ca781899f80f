-- Makes or replaces a trigger: $1 table, $2 name, $3 operation, $4 level, $5 SQL of WHEN or NULL, $6 arguments, $7 and $8
-- the sets that the condition looks into: the names of their functions, and what they hold,
-- $9 the function that it calls.
SELECT hark.place_capture($1::oid, $2, $3, $4, $5, $6::text[], $7::text[], $8::text[], $9)
