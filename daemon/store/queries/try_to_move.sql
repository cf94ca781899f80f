-- Takes the turn to move changes of this outbox until the end of the transaction; false when another instance has it. $1 the
-- name of its schema. What is committed then has to be so after a crash too, for the changes are forgotten at home.
SELECT pg_try_advisory_xact_lock(7020855, hashtext($1)) AS mine,
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
