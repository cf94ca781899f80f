-- Executions that many are to be retried, replayed or cancelled of, oldest first: $2 workflow, $3 statuses, $4 to $5 ids,
-- $6 class of the error. With $7 only such as nothing has repeated yet: retries carry the event's time in their ids too.
SELECT e.id, w.slug AS workflow, e.status
FROM hark.workflow_executions AS e
JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE e.tenant_id = $1 AND ($2::uuid IS NULL OR e.workflow_id = $2) AND e.status = ANY ($3::text[])
  AND e.id >= $4 AND e.id < $5 AND ($6::text IS NULL OR e.error ->> 'class' = $6) AND e.part IS NULL
  AND NOT ($7 AND EXISTS (
      SELECT FROM hark.workflow_executions AS f
      WHERE f.tenant_id = e.tenant_id AND f.workflow_id = e.workflow_id AND f.event_id = e.event_id
        AND f.ordinal > e.ordinal
        AND f.id >= (left(e.id::text, 13) || '-0000-0000-000000000000')::uuid
        AND f.id <= (left(e.id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid
  ))
ORDER BY e.id
LIMIT $8
