-- Notes who gets an event of what happens to tables, and which of their columns triggers do not see; returns the ids.
-- $1 schemas, $2 tables, $3 subscriptions, $4 the columns as JSON arrays.
INSERT INTO hark.watches AS w (schema_name, table_name, subscriptions, unseen)
SELECT u.schema_name, u.table_name, u.subscriptions::jsonb, ARRAY(SELECT jsonb_array_elements_text(u.unseen::jsonb))
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS u (schema_name, table_name, subscriptions, unseen)
ON CONFLICT (schema_name, table_name) DO UPDATE
    SET subscriptions = excluded.subscriptions, unseen = excluded.unseen, active = true, changed_at = now()
RETURNING w.id, w.schema_name, w.table_name
