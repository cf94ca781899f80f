-- Adds to an erasure what it has taken out of a file of the archive.
UPDATE hark.erasures SET archived = archived + $3, emptied = emptied + $4, files = files + 1 WHERE tenant_id = $1 AND id = $2
