-- The files in which one of some subjects, workflows or executions is named; two may share a key.
SELECT id, location, name, week FROM hark.archives
WHERE tenant_id = $1 AND keys && $2::integer[] AND sealed_at IS NOT NULL AND dropped_at IS NULL
ORDER BY id
