-- What tells this database from all others, as long as its server runs: what is the same on two connections is one.
SELECT pg_postmaster_start_time() AS started_at, d.oid
FROM pg_database AS d
WHERE d.datname = current_database()
