-- Stores parts of what an instance runs under its licence, for any instance to take; again is nothing.
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_id, trigger_type, status,
                                      pending_reason, mode, priority, deadline_at, depth, parent_id, parent_path, part,
                                      subject_kind, subject_id, inputs, sealed, metadata)
SELECT e.tenant_id, u.id, e.workflow_id, e.version, e.event_id, e.trigger_id, e.trigger_type, 'pending', 'part', e.mode,
       e.priority, e.deadline_at, e.depth, e.id, u.parent_path, u.part::jsonb, e.subject_kind, e.subject_id, e.inputs,
       u.sealed, e.metadata
FROM unnest($1::hark.started_part[]) AS u
-- OFFSET 0 keeps it a look at one whole after the other, by its key.
CROSS JOIN LATERAL (
    SELECT o.tenant_id, o.id, o.workflow_id, o.version, o.event_id, o.trigger_id, o.trigger_type, o.mode, o.priority,
           o.deadline_at, o.depth, o.subject_kind, o.subject_id, o.inputs, o.metadata
    FROM hark.workflow_executions AS o
    WHERE o.tenant_id = u.tenant_id AND o.id = u.parent_id AND o.instance_id = u.licence
    OFFSET 0
) AS e
JOIN hark.instances AS i ON i.id = u.licence
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
FOR KEY SHARE OF i, w
ON CONFLICT (tenant_id, id) DO NOTHING
