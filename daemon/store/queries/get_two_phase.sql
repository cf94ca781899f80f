-- Whether transactions can be prepared for a two-phase commit; such a one may not NOTIFY.
SELECT current_setting('max_prepared_transactions') <> '0'
