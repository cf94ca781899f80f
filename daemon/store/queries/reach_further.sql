-- Notes what follows from a slice of what is to be erased; where the slice ends, NULL behind the last.
SELECT hark.reach_further($1, $2, $3, $4, $5, $6)
