-- Sends one notification.
SELECT pg_notify($1, $2)
