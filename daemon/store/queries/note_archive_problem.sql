-- Notes why a file of the archive could not be written. $4: nothing of it can have come to its place.
UPDATE hark.archives SET problem = $3, name = CASE WHEN $4 THEN '' ELSE name END
WHERE tenant_id = $1 AND id = $2 AND sealed_at IS NULL
