-- The daemon processes on this database, oldest first, with what each has in hand.
SELECT i.id, i.host, i.pid, i.version, i.state, i.started_at, i.heartbeat_at,
       extract(epoch FROM clock_timestamp() - i.heartbeat_at)::float8 AS silent_s,
       (SELECT count(*) FROM hark.workflow_executions AS e WHERE e.instance_id = i.id AND e.status = 'running') AS running
FROM hark.instances AS i
ORDER BY i.started_at, i.id
