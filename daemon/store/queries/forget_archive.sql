-- Forgets a file that is gone.
DELETE FROM hark.archives WHERE tenant_id = $1 AND id = $2 AND (sealed_at IS NULL OR dropped_at IS NOT NULL)
