-- Erasures that have not ended. Under the lock of those that erase: what is left of one that was cut off.
SELECT tenant_id, id, kind, decided_at FROM hark.erasures WHERE ended_at IS NULL ORDER BY begun_at
