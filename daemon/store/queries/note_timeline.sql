-- Puts on an execution's timeline what somebody did to it from outside.
INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, detail)
VALUES ($1, $2, $3, $4, $5::jsonb)
