-- Deletes what a slice of a tenant's open executions, those of status $4 behind $5, has in logs and timelines from before the
-- policy; how much, and where to go on: at the same place when there was more of it, nowhere behind the last slice.
SELECT p.lines, p.next_after FROM hark.prune_open($1, $2, $3, $4, $5, $6) AS p
