-- What waits to become events or to be run, of up to 10,000, and for how long the oldest has; but for captured changes. Of what
-- waits for a free instance the oldest of the first 1,000.
SELECT (SELECT count(*) FROM (SELECT FROM hark.execution_ends AS d
                              WHERE d.parked_at IS NULL LIMIT 10000) AS n) AS ends,
       (SELECT extract(epoch FROM now() - d.noted_at)::float8 FROM hark.execution_ends AS d
        WHERE d.parked_at IS NULL ORDER BY d.id LIMIT 1) AS ends_age_s,
       extract(epoch FROM now() - least(
           (SELECT min(hark.id_time(p.id)) FROM (SELECT e.id FROM hark.workflow_executions AS e
                                   WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued LIMIT 1000) AS p),
           (SELECT min(e.due_at) FROM hark.workflow_executions AS e
            WHERE e.status = 'waiting' AND e.due_at IS NOT NULL AND e.due_at <= now())))::float8 AS claimable_age_s
