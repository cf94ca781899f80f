-- The events of batches, in the order in which they came.
SELECT x.execution_id, v.id, v.kind, v.type, v.source, v.subject_kind, v.subject_id, v.data, v.occurred_at
FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, execution_id)
JOIN hark.execution_events AS x ON x.tenant_id = u.tenant_id AND x.execution_id = u.execution_id
JOIN hark.events AS v ON v.tenant_id = x.tenant_id AND v.id = x.event_id
ORDER BY x.execution_id, x.position
