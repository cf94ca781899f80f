-- The events of claimed executions.
SELECT e.tenant_id, e.id, e.kind, e.type, e.source, e.subject_kind, e.subject_id, e.data, e.occurred_at
FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id)
JOIN hark.events AS e USING (tenant_id, id)
