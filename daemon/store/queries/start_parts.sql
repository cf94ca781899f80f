-- Stores parts of what an instance runs under its licence, for any instance to take; again is nothing.
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_id, trigger_type, status,
                                      pending_reason, mode, priority, deadline_at, depth, parent_id, parent_path, part,
                                      subject_kind, subject_id, inputs, sealed, metadata)
SELECT e.tenant_id, u.id, e.workflow_id, e.version, e.event_id, e.trigger_id, e.trigger_type, 'pending', 'part', e.mode,
       e.priority, e.deadline_at, e.depth, e.id, u.parent_path, u.part::jsonb, e.subject_kind, e.subject_id, e.inputs,
       u.sealed, e.metadata
FROM unnest($1::hark.started_part[]) AS u
JOIN hark.instances AS i ON i.id = u.licence
JOIN hark.workflow_executions AS e ON e.tenant_id = u.tenant_id AND e.id = u.parent_id AND e.instance_id = i.id
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
FOR KEY SHARE OF i, w
ON CONFLICT (tenant_id, id) DO NOTHING
