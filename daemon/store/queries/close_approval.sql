-- Takes no answer from now on, unless there is one. Under the licence $1 alone.
WITH licence AS MATERIALIZED (
    SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
)
UPDATE hark.waits AS w SET closed_at = now()
FROM licence
WHERE w.tenant_id = $2 AND w.execution_id = $3 AND w.path = $4 AND w.answered_at IS NULL AND w.closed_at IS NULL
RETURNING w.path
