-- The connections on whose databases something captures changes, and since when.
SELECT connection, outbox, since FROM hark.remotes ORDER BY connection
