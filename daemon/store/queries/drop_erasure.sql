-- Forgets an erasure that was not decided: nothing has gone.
DELETE FROM hark.erasures WHERE tenant_id = $1 AND id = $2 AND decided_at IS NULL
