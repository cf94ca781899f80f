-- Finds functions of row capture by their names, $1, whatever arguments they take.
SELECT p.oid::regprocedure::text AS signature FROM pg_proc AS p
WHERE p.pronamespace = 'hark'::regnamespace AND p.proname = ANY ($1)
