-- Lets publications of a tenant happen one after the other.
SELECT id FROM hark.tenants WHERE id = $1 FOR NO KEY UPDATE
