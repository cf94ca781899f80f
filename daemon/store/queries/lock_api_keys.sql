-- Lets one process at a time see to its admin key; held until the transaction ends.
SELECT pg_advisory_xact_lock(7020855)
