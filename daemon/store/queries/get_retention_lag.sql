-- For how many seconds the oldest week could have been dropped.
SELECT hark.retention_lag($1)
