-- Whose key this is, while it is neither expired nor revoked.
SELECT k.tenant_id, k.id, k.name, k.scopes, k.digest
FROM hark.api_keys AS k
WHERE k.digest = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
