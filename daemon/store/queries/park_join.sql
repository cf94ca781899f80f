-- Puts an end aside for one trigger that waits for several, because it could not be counted there; all others have heard of it.
INSERT INTO hark.execution_ends (tenant_id, execution_id, workflow_id, trigger_id, parked_at, problem)
VALUES ($1, $2, $3, $4, now(), $5)
