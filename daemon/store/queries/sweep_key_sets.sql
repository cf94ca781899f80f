-- Takes away the sets of tables that are gone.
SELECT hark.sweep_key_sets()
