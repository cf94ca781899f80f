-- Notes what is in a file of the archive that was written whole.
UPDATE hark.archives
SET first_id = $3, last_id = $4, executions = $5, steps = $6, events = $7, logs = $8, bytes = $9, sha256 = $10, keys = $11
WHERE tenant_id = $1 AND id = $2 AND sealed_at IS NULL
