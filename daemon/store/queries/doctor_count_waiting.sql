-- Executions that have been waiting for an instance for longer than $1; counted to 10,000 of each kind.
SELECT (SELECT count(*) FROM (
            SELECT FROM hark.workflow_executions AS e
            WHERE e.status = 'pending' AND e.due_at IS NULL AND NOT e.queued AND e.id < hark.id_floor(now() - $1::interval) LIMIT 10000) AS pending)
     + (SELECT count(*) FROM (
            SELECT FROM hark.workflow_executions AS e
            WHERE e.status = 'waiting' AND e.due_at IS NOT NULL AND e.due_at < now() - $1::interval LIMIT 10000) AS due)
     + (SELECT count(*) FROM (
            SELECT FROM hark.workflow_executions AS e
            WHERE e.status = 'running' AND e.id < hark.id_floor(now() - $1::interval) LIMIT 10000) AS held)
