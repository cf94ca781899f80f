-- Makes files part of the archive, with the transaction that drops what is in them; which ones, for some may have been given up.
UPDATE hark.archives SET sealed_at = now() WHERE id = ANY ($1) AND sealed_at IS NULL AND sha256 IS NOT NULL RETURNING id
