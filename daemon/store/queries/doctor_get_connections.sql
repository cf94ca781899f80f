-- How many connections this user may have in this database, how many there are on the server, and how many are ours.
SELECT least(current_setting('max_connections')::integer
                 - CASE WHEN r.rolsuper THEN 0
                        ELSE current_setting('superuser_reserved_connections')::integer
                             + coalesce(current_setting('reserved_connections', true)::integer, 0) END,
             CASE WHEN NOT r.rolsuper AND r.rolconnlimit >= 0 THEN r.rolconnlimit END,
             CASE WHEN NOT r.rolsuper AND d.datconnlimit >= 0 THEN d.datconnlimit END) AS most,
       (SELECT sum(s.numbackends) FROM pg_stat_database AS s)::integer AS used,
       (SELECT count(*) FROM pg_stat_activity AS a WHERE a.application_name LIKE 'hark%')::integer AS ours
FROM pg_roles AS r, pg_database AS d
WHERE r.rolname = current_user AND d.datname = current_database()
