-- The files that may hold an execution, the latest first.
SELECT id, location, name, sha256, executions FROM hark.archives
WHERE tenant_id = $1 AND first_id <= $2 AND last_id >= $2 AND sealed_at IS NOT NULL AND dropped_at IS NULL
ORDER BY id DESC
