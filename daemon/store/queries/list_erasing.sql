-- A slice of what is to be erased; rows without a what are to be passed over.
SELECT seq, what, id FROM hark.slice_of_erasing($1, $2, $3, $4)
