-- How many captured changes wait to become events, up to 10,000, and for how long the oldest has; $1 the id from which the outbox
-- is read.
SELECT (SELECT count(*) FROM (SELECT FROM hark.row_changes AS c
                              WHERE c.id > $1 AND c.parked_at IS NULL LIMIT 10000) AS r) AS records,
       (SELECT extract(epoch FROM now() - c.occurred_at)::float8 FROM hark.row_changes AS c
        WHERE c.id > $1 AND c.parked_at IS NULL ORDER BY c.id LIMIT 1) AS age_s
