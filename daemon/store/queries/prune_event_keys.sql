-- Deletes a batch of dedupe keys whose time is over.
WITH old AS (
    DELETE FROM hark.event_keys AS k
    USING (SELECT tenant_id, source, key FROM hark.event_keys WHERE expires_at < now() ORDER BY expires_at LIMIT $1) AS o
    WHERE k.tenant_id = o.tenant_id AND k.source = o.source AND k.key = o.key AND k.expires_at < now()
    RETURNING 1
)
SELECT count(*) FROM old
