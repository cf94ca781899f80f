-- What has been in the outbox for longer than $1, and what was put aside; of the oldest 10,000 records.
SELECT count(*) FILTER (WHERE c.parked_at IS NULL AND c.occurred_at < now() - $1::interval) AS waiting,
       count(c.parked_at) AS parked,
       extract(epoch FROM now() - min(c.occurred_at) FILTER (WHERE c.parked_at IS NULL))::float8 AS age_s
FROM (SELECT r.occurred_at, r.parked_at FROM hark.row_changes AS r ORDER BY r.id LIMIT 10000) AS c
