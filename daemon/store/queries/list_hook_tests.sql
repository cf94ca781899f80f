-- The paths that are open for trying out, of all tenants.
SELECT t.tenant_id, t.path, t.expires_at FROM hark.hook_tests AS t WHERE t.expires_at > now() ORDER BY t.tenant_id, t.path
