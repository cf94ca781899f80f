-- Stores a part ($4, made by the step $5) of what instance $1 runs ($2, $3), for any instance to take; again is nothing.
-- $7: the secrets of the whole, sealed for the part.
WITH licence AS MATERIALIZED (
    SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
)
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_id, trigger_type, status,
                                      pending_reason, mode, priority, deadline_at, depth, parent_id, parent_path, part,
                                      subject_kind, subject_id, inputs, sealed,
                                      metadata)
SELECT e.tenant_id, $4, e.workflow_id, e.version, e.event_id, e.trigger_id, e.trigger_type, 'pending', 'part', e.mode,
       e.priority, e.deadline_at, e.depth, e.id, $5, $6::jsonb, e.subject_kind, e.subject_id, e.inputs, $7::bytea,
       e.metadata
FROM licence
JOIN hark.workflow_executions AS e ON e.tenant_id = $2 AND e.id = $3 AND e.instance_id = licence.id
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
FOR KEY SHARE OF w
ON CONFLICT (tenant_id, id) DO NOTHING
