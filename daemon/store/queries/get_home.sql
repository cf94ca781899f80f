-- Which Hark this is: the identity of its outbox, and the server and database on which it lies.
SELECT o.identity, s.system_identifier || '/' || d.oid AS place
FROM hark.outbox AS o, pg_control_system() AS s, pg_database AS d
WHERE d.datname = current_database()
