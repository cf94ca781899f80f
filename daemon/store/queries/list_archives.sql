-- A page of the files of the archive, the latest first.
SELECT id, location, name, week, sealed_at, first_id, last_id, executions, steps, events, logs, bytes,
       encode(sha256, 'hex') AS sha256
FROM hark.archives
WHERE tenant_id = $1 AND id < $2 AND id >= $3 AND sealed_at IS NOT NULL AND dropped_at IS NULL
ORDER BY id DESC LIMIT $4
