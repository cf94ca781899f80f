-- Which of these changes are in the outbox, maybe of somebody who is just letting go of them: $1 ids.
SELECT c.id, c.occurred_at FROM hark.row_changes AS c WHERE c.id = ANY ($1::bigint[])
