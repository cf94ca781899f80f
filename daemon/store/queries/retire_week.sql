-- Drops the oldest week of the history if all of it is past; what stays moves out of it first.
SELECT week, moved FROM hark.retire_week($1, $2)
