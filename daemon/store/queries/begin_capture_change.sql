-- Begins a change of triggers: waits $1 for locks at the most, lets instances take turns.
SELECT set_config('lock_timeout', $1, true), pg_advisory_xact_lock(7020853)
