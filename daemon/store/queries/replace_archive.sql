-- Puts a file that was written anew ($3) in the place of another ($2). Nothing when one of them was given up meanwhile.
WITH fresh AS MATERIALIZED (
    SELECT a.id FROM hark.archives AS a
    WHERE a.tenant_id = $1 AND a.id = $3 AND a.sealed_at IS NULL AND a.sha256 IS NOT NULL
    FOR UPDATE
), old AS (
    UPDATE hark.archives AS a SET dropped_at = now() FROM fresh
    WHERE a.tenant_id = $1 AND a.id = $2 AND a.sealed_at IS NOT NULL AND a.dropped_at IS NULL
    RETURNING a.sealed_at
)
UPDATE hark.archives AS a SET sealed_at = old.sealed_at FROM old WHERE a.tenant_id = $1 AND a.id = $3 RETURNING a.id
