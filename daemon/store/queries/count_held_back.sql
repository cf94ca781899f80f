-- How many executions queue for a slot, and how many are put off; counted to 100,000 of each.
SELECT (SELECT count(*) FROM (SELECT FROM hark.workflow_executions AS e
                              WHERE e.status = 'pending' AND e.queued LIMIT 100000) AS q) AS queued,
       (SELECT count(*) FROM (SELECT FROM hark.workflow_executions AS e
                              WHERE e.status = 'pending' AND e.due_at IS NOT NULL LIMIT 100000) AS d) AS delayed
