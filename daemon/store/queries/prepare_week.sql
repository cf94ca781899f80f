-- Marks the oldest week if it is past, and names it.
SELECT hark.prepare_week($1)
