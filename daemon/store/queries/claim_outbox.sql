-- Writes down whose outbox it is: $1 the home's identity, $2 its place, $3 the connection's name; how it was made: $4 tables,
-- $5 functions.
UPDATE hark.outbox SET home = $1, place = $2, connection = $3, layout = $4, functions = $5
