-- What an event ($2) has started, without what was retried or replayed: its executions lie between $3 and $4.
SELECT e.id, e.workflow_id, e.trigger_id, e.status, e.error ->> 'class' AS error_class, w.slug AS workflow
FROM hark.workflow_executions AS e
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE e.tenant_id = $1 AND e.event_id = $2 AND e.part IS NULL AND e.ordinal = 0 AND e.id >= $3 AND e.id < $4
ORDER BY e.id
LIMIT 1000
