-- The number of the latest entry in the list of what is to be erased.
SELECT max(seq) FROM hark.erasing
