-- Notes after which workflows a workflow starts.
INSERT INTO hark.followed_workflows (tenant_id, workflow_id, trigger_id, followed)
SELECT $1, $2, u.trigger_id, u.followed FROM unnest($3::text[], $4::text[]) AS u (trigger_id, followed)
