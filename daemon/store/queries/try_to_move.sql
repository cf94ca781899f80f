-- Takes the turn to move changes of this outbox until the end of the transaction, if no other instance has it: $1 the name of
-- its schema. Tells whether it is still the outbox that was looked at, and for the same ones: $2 its identity, $3 the place of
-- the home, $4 the connection. What is committed then has to be so after a crash too, for the changes are forgotten at home.
SELECT pg_try_advisory_xact_lock(7020855, hashtext($1)) AS mine,
       EXISTS (SELECT FROM hark.outbox AS o WHERE o.identity = $2 AND o.place = $3 AND o.connection = $4) AS ours,
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
