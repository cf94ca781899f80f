-- How many events of a tenant started nothing, or have nothing left of what they started, and are older than their policy.
SELECT count(*) FROM hark.events AS e
WHERE NOT e.matched AND e.id < hark.id_floor(now() - $2::interval) AND e.tenant_id = $1
