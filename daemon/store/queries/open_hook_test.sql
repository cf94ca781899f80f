-- Opens a path for trying out, or keeps it open for longer.
INSERT INTO hark.hook_tests (tenant_id, path, expires_at)
VALUES ($1, $2, now() + $3::interval)
ON CONFLICT (tenant_id, path) DO UPDATE SET expires_at = greatest(hook_tests.expires_at, excluded.expires_at)
RETURNING path, expires_at
