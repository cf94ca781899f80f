-- Moves cron triggers forward, never back; a workflow that is gone is passed over. Rows are taken in one order by all.
INSERT INTO hark.schedules AS s (tenant_id, workflow_id, trigger_id, schedule, timezone, settled_until, last_slot)
SELECT u.tenant_id, u.workflow_id, u.trigger_id, u.schedule, u.timezone, u.settled_until, u.last_slot
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[])
    AS u (tenant_id, workflow_id, trigger_id, schedule, timezone, settled_until, last_slot)
JOIN hark.workflows AS w ON w.tenant_id = u.tenant_id AND w.id = u.workflow_id
ORDER BY u.tenant_id, u.workflow_id, u.trigger_id
ON CONFLICT (tenant_id, workflow_id, trigger_id) DO UPDATE
    SET schedule = excluded.schedule, timezone = excluded.timezone,
        settled_until = greatest(s.settled_until, excluded.settled_until),
        last_slot = greatest(s.last_slot, excluded.last_slot)
