-- Files that were given up, or that others have taken the place of: to be removed.
SELECT tenant_id, id, location, name FROM hark.archives WHERE sealed_at IS NULL OR dropped_at IS NOT NULL ORDER BY begun_at
