-- Whether any change is in the outbox that can become an event.
SELECT EXISTS (SELECT FROM hark.row_changes WHERE parked_at IS NULL)
