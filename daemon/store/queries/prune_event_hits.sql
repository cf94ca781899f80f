-- Deletes what was found for waits that ended at the same moment.
DELETE FROM hark.event_hits AS h
WHERE h.event_id < hark.id_floor(now() - interval '1 hour')
  AND NOT EXISTS (SELECT FROM hark.event_waits AS w
                  WHERE w.tenant_id = h.tenant_id AND w.execution_id = h.execution_id AND w.path = h.path)
