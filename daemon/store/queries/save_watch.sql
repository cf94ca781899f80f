-- Notes who gets an event of what happens to a table; returns the watch's id.
INSERT INTO hark.watches AS w (schema_name, table_name, subscriptions)
VALUES ($1, $2, $3::jsonb)
ON CONFLICT (schema_name, table_name) DO UPDATE
    SET subscriptions = excluded.subscriptions, active = true, changed_at = now()
RETURNING w.id
