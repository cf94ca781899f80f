-- Gives back what belongs to instances that are no more, and puts it on record.
-- The owners come first, one step through the index for each: asked row by row, what runs was joined with all that its
-- instance runs, which is quadratic in what is in flight.
WITH RECURSIVE owners (id) AS (
    (SELECT e.instance_id FROM hark.workflow_executions AS e
     WHERE e.status = 'running' ORDER BY e.instance_id LIMIT 1)
    UNION ALL
    SELECT following.instance_id
    FROM owners AS o CROSS JOIN LATERAL (
        SELECT e.instance_id FROM hark.workflow_executions AS e
        WHERE e.status = 'running' AND e.instance_id > o.id ORDER BY e.instance_id LIMIT 1) AS following
), gone AS MATERIALIZED (
    SELECT o.id FROM owners AS o WHERE NOT EXISTS (SELECT FROM hark.instances AS i WHERE i.id = o.id)
), orphans AS (
    UPDATE hark.workflow_executions AS e
    SET status = 'pending', pending_reason = 'reclaimed', instance_id = NULL
    FROM gone AS g
    WHERE e.instance_id = g.id AND e.status = 'running'
    RETURNING e.tenant_id, e.id, g.id AS was
), noted AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, detail)
    SELECT tenant_id, id, hark.new_id(), 'execution.reclaimed', jsonb_build_object('from_instance', was) FROM orphans
)
SELECT count(*) FROM orphans
