-- Notes that the events of changes from another database are stored, and returns those of them that were not before; waits for
-- whoever is just storing the same. $1 the outbox, $2 ids, $3 when they occurred, pairwise in the order of ids. What is
-- committed then has to be so after a crash too, for the other database lets go of the changes.
INSERT INTO hark.moved_changes (outbox, change_id, occurred_at)
SELECT $1, u.id, u.occurred_at FROM unnest($2::bigint[], $3::timestamptz[]) AS u (id, occurred_at)
ON CONFLICT DO NOTHING
RETURNING change_id, clock_timestamp() AS now,
          CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
