-- Deletes a workflow; a trigger deletes its versions, executions and all that belongs to them.
DELETE FROM hark.workflows WHERE tenant_id = $1 AND id = $2 RETURNING id
