-- Deletes the shapes of waits that nobody has used for a day and nobody waits by.
DELETE FROM hark.wait_shapes AS s
WHERE s.used_at < now() - interval '1 day'
  AND NOT EXISTS (SELECT FROM hark.event_waits AS w
                  WHERE w.tenant_id = s.tenant_id AND w.route = s.route AND w.key_path = s.key_path)
