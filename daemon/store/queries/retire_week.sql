-- Drops a week that was prepared; how many executions moved out of it, NULL when it is not to go any more.
SELECT hark.retire_week($1, $2)
