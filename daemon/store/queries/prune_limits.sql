-- Deletes up to $1 each of windows, keys and collections that have run out, and of lanes that nobody is in; how many.
WITH windows AS (
    DELETE FROM hark.windows AS w WHERE (w.tenant_id, w.id) IN (
        SELECT o.tenant_id, o.id FROM hark.windows AS o WHERE o.expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
), keys AS (
    DELETE FROM hark.start_keys AS k WHERE (k.tenant_id, k.id) IN (
        SELECT o.tenant_id, o.id FROM hark.start_keys AS o WHERE o.expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
), collections AS (
    DELETE FROM hark.collections AS c WHERE (c.tenant_id, c.id) IN (
        SELECT o.tenant_id, o.id FROM hark.collections AS o WHERE o.expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT (SELECT count(*) FROM windows) + (SELECT count(*) FROM keys) + (SELECT count(*) FROM collections)
