-- The id of the key with which secrets of executions are sealed; NULL before the first one was.
SELECT key_id FROM hark.sealing_key
