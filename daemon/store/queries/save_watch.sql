-- Notes who gets an event of what happens to a table, and which of its columns triggers do not see; returns the id.
INSERT INTO hark.watches AS w (schema_name, table_name, subscriptions, unseen)
VALUES ($1, $2, $3::jsonb, $4)
ON CONFLICT (schema_name, table_name) DO UPDATE
    SET subscriptions = excluded.subscriptions, unseen = excluded.unseen, active = true, changed_at = now()
RETURNING w.id
