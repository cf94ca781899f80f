-- Tells whether the outbox is still the one that was looked at, and for the same ones: $1 its identity, $2 the place of the home,
-- $3 the connection.
SELECT EXISTS (SELECT FROM hark.outbox AS o WHERE o.identity = $1 AND o.place = $2 AND o.connection = $3)
