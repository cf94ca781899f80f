-- An execution that is to be repeated, with the secrets that it was handed.
SELECT e.id, e.status, e.workflow_id, e.version, e.event_id, e.ordinal, e.error, e.completed_at,
       e.part IS NOT NULL AS is_part, e.sealed
FROM hark.workflow_executions AS e
WHERE e.tenant_id = $1 AND e.id = $2
