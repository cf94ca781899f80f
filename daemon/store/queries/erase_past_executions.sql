-- Deletes a batch of executions whose policy has run out and that do not go with their week; how many.
SELECT hark.erase_past_executions($1, $2, $3)
