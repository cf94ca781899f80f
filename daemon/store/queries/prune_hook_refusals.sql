-- Deletes refusals that are a day old, and of paths on which nobody listens all but the latest: anybody can ask for any path.
DELETE FROM hark.hook_refusals AS r
WHERE r.last_at < now() - interval '1 day'
   OR (r.status = 404 AND (r.tenant_id, r.path) IN (
        SELECT o.tenant_id, o.path FROM hark.hook_refusals AS o WHERE o.status = 404 ORDER BY o.last_at DESC, o.count DESC OFFSET $1))
