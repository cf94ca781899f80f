-- Notes that a file of the archive is about to be written.
INSERT INTO hark.archives (tenant_id, id, location, name, week) VALUES ($1, $2, $3, $4, $5)
