-- Whether the row changes up to one have become events; what was put aside is not waited for.
SELECT NOT EXISTS (SELECT FROM hark.row_changes WHERE id <= $1 AND parked_at IS NULL)
