-- Notes that on the database of a connection something captures changes: $1 its name, $2 the identity of the outbox there.
-- Names that it had before are gone: nothing is left to do under them.
WITH renamed AS (DELETE FROM hark.remotes WHERE outbox = $2 AND connection <> $1)
INSERT INTO hark.remotes AS r (connection, outbox) VALUES ($1, $2)
ON CONFLICT (connection) DO UPDATE SET outbox = excluded.outbox WHERE r.outbox <> excluded.outbox
