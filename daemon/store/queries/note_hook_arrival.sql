-- Keeps what arrived on a path that is open for trying out, up to a number; says nothing when it is not kept.
INSERT INTO hark.hook_arrivals (tenant_id, path, id, data)
SELECT t.tenant_id, t.path, $3, $4::jsonb
FROM hark.hook_tests AS t
WHERE t.tenant_id = $1 AND t.path = $2 AND t.expires_at > now()
  AND (SELECT count(*) FROM hark.hook_arrivals AS a WHERE a.tenant_id = $1 AND a.path = $2) < $5
RETURNING id
