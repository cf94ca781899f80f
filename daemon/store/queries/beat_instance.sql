-- Shows that this instance lives. No row: somebody took over its work, and it may write nothing any more.
UPDATE hark.instances
SET heartbeat = heartbeat + 1, heartbeat_at = clock_timestamp(), backend_pids = $2, state = $3
WHERE id = $1
RETURNING clock_timestamp() AS now, (SELECT generation FROM hark.registry) AS generation
