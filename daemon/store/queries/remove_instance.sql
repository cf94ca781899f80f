-- Takes a dead instance's licence away. Waits for its open flushes; does nothing if it has shown life since.
DELETE FROM hark.instances WHERE id = $1 AND heartbeat = $2 RETURNING id
