-- Makes the next execution of the same event and workflow, waiting for a place; inputs and subject as the first had.
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, ordinal, trigger_id, trigger_type,
                                      status, pending_reason, mode, priority, depth, origin_id, subject_kind,
                                      subject_id, inputs, metadata, deadline_at)
SELECT e.tenant_id, $3, e.workflow_id, e.version, e.event_id, $4, e.trigger_id, e.trigger_type,
       'pending', 'retry', e.mode, e.priority, e.depth, e.id, e.subject_kind, e.subject_id, e.inputs, e.metadata,
       now() + $5::interval
FROM hark.workflow_executions AS e
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE e.tenant_id = $1 AND e.id = $2
FOR KEY SHARE OF w
ON CONFLICT (tenant_id, id) DO NOTHING
RETURNING id
