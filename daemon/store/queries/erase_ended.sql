-- Deletes executions that have ended, with everything of them; how many.
SELECT hark.erase_ended($1, $2, $3)
