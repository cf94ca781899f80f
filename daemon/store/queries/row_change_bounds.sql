-- $1 an id: the first record after it, and which transactions are still open (all below `next` that are not below
-- `oldest` may be).
SELECT (SELECT min(id) FROM hark.row_changes WHERE id > $1 AND parked_at IS NULL) AS first_id,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next
