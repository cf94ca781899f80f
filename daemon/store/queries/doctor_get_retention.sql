-- How far retention is behind ($1: the policy of the settings), what the archive could not take, and what was not erased.
SELECT hark.retention_lag($1) AS lag_s,
       (SELECT a.problem FROM hark.archives AS a
        WHERE a.sealed_at IS NULL AND a.problem IS NOT NULL ORDER BY a.begun_at DESC LIMIT 1) AS problem,
       (SELECT count(*) FROM hark.archives AS a WHERE a.dropped_at < now() - interval '1 hour') AS not_removed,
       (SELECT count(*) FROM hark.erasures AS r WHERE r.ended_at IS NULL AND r.decided_at < now() - interval '1 hour') AS cut_off
