-- Notes that the events of changes from another database are stored, and returns those of them that were not before; waits for
-- whoever is just storing the same. $1 the outbox, $2 ids, $3 when they occurred, pairwise in the order of ids.
INSERT INTO hark.moved_changes (outbox, change_id, occurred_at)
SELECT $1, u.id, u.occurred_at FROM unnest($2::bigint[], $3::timestamptz[]) AS u (id, occurred_at)
ON CONFLICT DO NOTHING
RETURNING change_id, clock_timestamp() AS now
