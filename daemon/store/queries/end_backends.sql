-- Ends the server processes of a dead instance, which may hold row locks in an open transaction.
SELECT count(pg_terminate_backend(a.pid))
FROM pg_stat_activity AS a
WHERE a.pid = ANY ($1::integer[]) AND a.application_name LIKE 'hark%' AND a.datname = current_database()
  AND a.usename = current_user AND a.pid <> pg_backend_pid()
