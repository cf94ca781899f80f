-- Deletes what was tried out, once its time is over.
DELETE FROM hark.hook_tests AS t WHERE t.expires_at < now()
