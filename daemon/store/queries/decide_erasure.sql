-- From here on an erasure is carried out, whoever does it.
UPDATE hark.erasures SET decided_at = coalesce(decided_at, now()) WHERE tenant_id = $1 AND id = $2
