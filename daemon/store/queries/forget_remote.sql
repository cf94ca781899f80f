-- Notes that on the database of a connection nothing captures changes any more: $1 its name, $2 the generation of active
-- workflows of which that is so.
DELETE FROM hark.remotes WHERE connection = $1 AND (SELECT generation FROM hark.registry) = $2
