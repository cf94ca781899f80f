-- Notes what has to stay of a slice of a week; returns where the slice ends and how many it has, NULL when nothing is left.
SELECT last_tenant, last_id, seen FROM hark.note_staying($1, $2, $3, $4, $5, $6)
