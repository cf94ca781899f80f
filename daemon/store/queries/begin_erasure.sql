-- Puts on record that a subject is to be erased; the smallest id of what comes after this call. A second more, for the clocks.
INSERT INTO hark.erasures (tenant_id, id, kind, salt, digest, requested_by) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING hark.id_floor(clock_timestamp() + interval '1 second') AS until
