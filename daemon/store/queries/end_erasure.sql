-- Notes that an erasure has been carried out.
UPDATE hark.erasures SET ended_at = now() WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL
