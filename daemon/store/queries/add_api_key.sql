-- Enters a key; only its digest is kept.
INSERT INTO hark.api_keys (tenant_id, id, name, digest, scopes) VALUES ($1, hark.new_id(), $2, $3, $4)
