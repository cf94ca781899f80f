-- Forgets changes of which another database has let go: $1 the outbox, $2 ids, $3 when they occurred, pairwise.
DELETE FROM hark.moved_changes AS m
USING unnest($2::bigint[], $3::timestamptz[]) AS u (id, occurred_at)
WHERE m.outbox = $1 AND m.change_id = u.id AND m.occurred_at = u.occurred_at
