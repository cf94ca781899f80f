-- What some events ($2) have started, without what was retried or replayed: it lies between $3 and $4; up to $5.
SELECT e.event_id, e.id AS execution_id, e.trigger_id, w.slug AS workflow
FROM hark.workflow_executions AS e
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE e.tenant_id = $1 AND e.id >= $3 AND e.id < $4 AND e.event_id = ANY ($2::uuid[]) AND e.part IS NULL
  AND e.ordinal = 0
ORDER BY e.id
LIMIT $5
