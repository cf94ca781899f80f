-- Why workflows that an event was offered to did not start.
SELECT w.slug AS workflow, d.workflow_id, d.trigger_id, d.reason, d.detail
FROM hark.event_decisions AS d
JOIN hark.workflows AS w ON w.tenant_id = d.tenant_id AND w.id = d.workflow_id
WHERE d.tenant_id = $1 AND d.event_id = $2
ORDER BY w.slug, d.trigger_id
LIMIT 1000
