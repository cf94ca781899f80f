-- Gives back what belongs to instances that are no more, and puts it on record.
WITH orphans AS (
    UPDATE hark.workflow_executions AS e
    SET status = 'pending', pending_reason = 'reclaimed', instance_id = NULL
    FROM (
        SELECT o.tenant_id, o.id, o.instance_id
        FROM hark.workflow_executions AS o
        WHERE o.status = 'running' AND NOT EXISTS (SELECT FROM hark.instances AS i WHERE i.id = o.instance_id)
    ) AS o
    WHERE e.tenant_id = o.tenant_id AND e.id = o.id AND e.status = 'running' AND e.instance_id = o.instance_id
    RETURNING e.tenant_id, e.id, o.instance_id AS was
), noted AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, detail)
    SELECT tenant_id, id, hark.new_id(), 'execution.reclaimed', jsonb_build_object('from_instance', was) FROM orphans
)
SELECT count(*) FROM orphans
