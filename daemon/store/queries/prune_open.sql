-- Deletes a batch of what open executions have in their logs and timelines from before the policy; how many.
SELECT hark.prune_open($1, $2, $3)
