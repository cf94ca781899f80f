-- How far these cron triggers have come.
SELECT s.tenant_id, s.workflow_id, s.trigger_id, s.schedule, s.timezone, s.settled_until, s.last_slot
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS u (tenant_id, workflow_id, trigger_id)
JOIN hark.schedules AS s USING (tenant_id, workflow_id, trigger_id)
