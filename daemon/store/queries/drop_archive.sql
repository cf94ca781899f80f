-- Takes a file out of the archive in which nothing is left.
UPDATE hark.archives SET dropped_at = now()
WHERE tenant_id = $1 AND id = $2 AND sealed_at IS NOT NULL AND dropped_at IS NULL
RETURNING id
