-- A slice of what is to be erased.
SELECT seq, what, id FROM hark.erasing WHERE tenant_id = $1 AND erasure_id = $2 AND seq > $3 ORDER BY seq LIMIT $4
