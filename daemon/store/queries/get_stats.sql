-- How much there is. What has ended is estimated from the planner's statistics: history is never counted whole.
SELECT (SELECT count(*) FROM hark.workflows AS w WHERE w.tenant_id = $1 AND w.status <> 'archived') AS workflows,
       (SELECT count(*) FROM hark.workflows AS w WHERE w.tenant_id = $1 AND w.is_active) AS active_workflows,
       (SELECT count(*) FROM hark.instances) AS instances,
       (SELECT coalesce(jsonb_object_agg(c.status, c.number), '{}') FROM (
            SELECT e.status, count(*) AS number
            FROM hark.workflow_executions AS e
            WHERE e.tenant_id = $1 AND e.status IN ('pending', 'running', 'waiting') AND e.status <> 'completed'
            GROUP BY e.status) AS c) AS open_executions,
       (SELECT jsonb_object_agg(p.parent, p.rows) FROM (
            SELECT c.relname AS parent, coalesce(sum(greatest(k.reltuples, 0)), 0)::bigint AS rows
            FROM pg_class AS c
            JOIN pg_inherits AS i ON i.inhparent = c.oid
            JOIN pg_class AS k ON k.oid = i.inhrelid
            WHERE c.relnamespace = 'hark'::regnamespace
              AND c.relname IN ('events', 'workflow_executions', 'workflow_steps', 'workflow_logs')
            GROUP BY c.relname) AS p) AS estimated_rows
