-- Weekly partitions of the history, from this week to the one after the next, that are not there or not attached.
SELECT p.relname || to_char(w.week AT TIME ZONE 'UTC', '"_"IYYY"w"IW') AS name, w.week <= now() AS now
FROM pg_class AS p
JOIN pg_namespace AS n ON n.oid = p.relnamespace
CROSS JOIN generate_series(date_trunc('week', now(), 'UTC'), now() + interval '14 days', interval '7 days') AS w (week)
WHERE n.nspname = 'hark' AND p.relkind = 'p' AND NOT p.relispartition
  AND NOT EXISTS (
      SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
      WHERE i.inhparent = p.oid AND NOT i.inhdetachpending
        AND c.relname = p.relname || to_char(w.week AT TIME ZONE 'UTC', '"_"IYYY"w"IW'))
ORDER BY w.week, p.relname
