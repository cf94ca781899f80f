-- All tables that are or were watched, and who is interested in what.
SELECT id, schema_name, table_name, subscriptions, unseen, active FROM hark.watches
