-- Deletes the executions in a slice of what is to be erased; where the slice ends, NULL behind the last.
SELECT hark.erase_listed($1, $2, $3, $4)
