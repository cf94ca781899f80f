-- Makes the next execution of the same event and workflow, waiting for a place. $6 version, $7 inputs unless as before,
-- $8 retry or replay, $9 not before when, $10 its secrets, sealed for it.
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, ordinal, trigger_id, trigger_type,
                                      status, pending_reason, mode, priority, depth, origin_id, subject_kind,
                                      subject_id, inputs, variables, sealed, metadata, limits, gate, deadline_at, due_at)
SELECT e.tenant_id, $3, e.workflow_id, $6, e.event_id, $4, e.trigger_id, e.trigger_type,
       'pending', $8, e.mode, e.priority, e.depth, e.id, e.subject_kind, e.subject_id,
       coalesce($7::jsonb, e.inputs), e.variables, $10::bytea, e.metadata,
       -- The door and the collecting are for events: what is repeated only waits, for throttle and lanes.
       e.limits, 2, coalesce($9, now()) + $5::interval, $9
FROM hark.workflow_executions AS e
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE e.tenant_id = $1 AND e.id = $2
-- The origin too: it is not erased until this is there to be seen.
FOR KEY SHARE OF w, e
ON CONFLICT (tenant_id, id) DO NOTHING
RETURNING id
