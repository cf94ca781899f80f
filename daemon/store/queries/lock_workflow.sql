-- Waits for the starts of a workflow that are under way, and lets no other begin before the transaction ends.
SELECT slug FROM hark.workflows WHERE tenant_id = $1 AND id = $2 FOR UPDATE
