-- A file of the archive.
SELECT id, location, name, week, sha256, executions FROM hark.archives
WHERE tenant_id = $1 AND id = $2 AND sealed_at IS NOT NULL AND dropped_at IS NULL
