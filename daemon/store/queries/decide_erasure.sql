-- From here on an erasure is carried out, whoever does it; nothing when it is no longer there, or has ended.
UPDATE hark.erasures SET decided_at = coalesce(decided_at, now())
WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL
RETURNING id
