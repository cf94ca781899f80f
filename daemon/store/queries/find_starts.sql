-- What became of starts that made no execution with their event: the one that they joined; NULL when they were refused.
-- One that was stored by an earlier attempt of the same flush, whose answer was lost, is itself.
SELECT u.id, coalesce(e.id, d.detail::uuid) AS execution_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[]) AS u (tenant_id, id, event_id, workflow_id, trigger_id)
LEFT JOIN hark.workflow_executions AS e ON e.tenant_id = u.tenant_id AND e.id = u.id
LEFT JOIN hark.event_decisions AS d
    ON d.tenant_id = u.tenant_id AND d.event_id = u.event_id AND d.workflow_id = u.workflow_id
    AND d.trigger_id = u.trigger_id AND d.reason = 'batched'
