-- Takes a trigger off a table: $1 table, $2 name.
SELECT hark.remove_capture($1::oid, $2)
