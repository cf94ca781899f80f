-- Asks people, unless that is on record; returns the answer if there is one. Under the licence $1 alone.
WITH licence AS MATERIALIZED (
    SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
), opened AS (
    INSERT INTO hark.waits (tenant_id, execution_id, path, id, kind, until, detail, token_digest)
    SELECT $2, $3, $4, $5, 'approval', $6, $7::jsonb, $8 FROM licence
    ON CONFLICT (tenant_id, execution_id, path) DO NOTHING
)
SELECT l.id AS licence, w.answer, w.answered_at, w.closed_at IS NOT NULL AS closed
FROM licence AS l
LEFT JOIN hark.waits AS w ON w.tenant_id = $2 AND w.execution_id = $3 AND w.path = $4
