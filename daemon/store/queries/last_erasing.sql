-- The number of the latest entry in the list of an erasure.
SELECT max(seq) FROM hark.erasing WHERE tenant_id = $1 AND erasure_id = $2
