-- Notes what open executions are children of, of the week that is about to go; how many.
SELECT hark.note_needed($1)
