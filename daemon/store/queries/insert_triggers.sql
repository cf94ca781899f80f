-- Writes the triggers of a workflow's published version, opened up for look-ups.
INSERT INTO hark.workflow_triggers (tenant_id, workflow_id, id, kind, route, event_type, config)
SELECT $1, $2, u.id, u.kind, u.route, u.event_type, u.config::jsonb
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS u (id, kind, route, event_type, config)
