-- The highest id that the outbox has given out; 0 for none.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM hark.row_changes_id_seq
