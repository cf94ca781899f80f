-- How many executions queue for a slot, how many are put off, and how many ends were put aside; to 100,000 of each.
SELECT (SELECT count(*) FROM (SELECT FROM hark.workflow_executions AS e
                              WHERE e.status = 'pending' AND e.queued LIMIT 100000) AS q) AS executions_queued,
       (SELECT count(*) FROM (SELECT FROM hark.workflow_executions AS e
                              WHERE e.status = 'pending' AND e.due_at IS NOT NULL LIMIT 100000) AS d) AS executions_delayed,
       (SELECT count(*) FROM (SELECT FROM hark.execution_ends AS o
                              WHERE o.parked_at IS NOT NULL LIMIT 100000) AS p) AS ends_parked
