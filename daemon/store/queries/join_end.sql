-- Adds an end to those that a trigger waits for; all of them when the last one is there, else nothing.
SELECT followed, execution_id FROM hark.join_end($1, $2, $3, $4, $5, $6, $7, $8, $9)
