-- Cancels the open executions that some steps ($3) of an execution wait for.
SELECT hark.cancel_children($1, $2, $3::text[])
