-- The server and database on which the connection is; the same on a standby that was promoted.
SELECT s.system_identifier || '/' || d.oid AS place
FROM pg_control_system() AS s, pg_database AS d
WHERE d.datname = current_database()
