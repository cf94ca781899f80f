-- Why workflows that some events ($2) were offered to did not start, as far as it is on record; up to $3 of them.
SELECT d.event_id, w.slug AS workflow, d.trigger_id, d.reason, d.detail
FROM hark.event_decisions AS d
JOIN hark.workflows AS w ON w.tenant_id = d.tenant_id AND w.id = d.workflow_id
WHERE d.tenant_id = $1 AND d.event_id = ANY ($2::uuid[])
ORDER BY d.event_id, w.slug, d.trigger_id
LIMIT $3
