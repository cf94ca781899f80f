-- Transactions older than $1 that hold deleted rows, of sessions and prepared ones, oldest first.
SELECT false AS prepared, a.pid::text AS name, a.usename::text AS who,
       concat_ws(', ', nullif(a.application_name, ''), a.state) AS note,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s
FROM pg_stat_activity AS a
WHERE a.xact_start < clock_timestamp() - $1::interval AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
  -- A snapshot holds the rows of its own database, a transaction id those of all.
  AND (a.backend_xid IS NOT NULL OR (a.backend_xmin IS NOT NULL AND a.datname = current_database()))
UNION ALL
SELECT true, p.gid, p.owner::text, p.database::text, extract(epoch FROM clock_timestamp() - p.prepared)::float8
FROM pg_prepared_xacts AS p
WHERE p.prepared < clock_timestamp() - $1::interval
ORDER BY age_s DESC
