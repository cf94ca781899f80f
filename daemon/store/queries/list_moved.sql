-- Changes whose events are stored, and of which the other database may not have let go: $1 the outbox, $2 the id after which
-- they lie, $3 most.
SELECT change_id, occurred_at FROM hark.moved_changes
WHERE outbox = $1 AND change_id > $2 ORDER BY change_id LIMIT $3
