-- Reads the oldest changes of the outbox if they are few, and takes none of them; `found` is how many there are.
-- $1 the id after which they lie, $2 most records, $3 most bytes; with more there is one row, without a change.
WITH first AS MATERIALIZED (
    SELECT c.id, coalesce(octet_length(c.old_rows), 0) + coalesce(octet_length(c.new_rows), 0) AS bytes
    FROM hark.row_changes AS c
    WHERE c.id > $1 AND c.parked_at IS NULL
    ORDER BY c.id LIMIT $2 + 1
), size AS MATERIALIZED (
    SELECT count(*) AS found, coalesce(sum(f.bytes), 0) AS bytes, coalesce(max(f.id), $1) AS last FROM first AS f
)
SELECT s.found, clock_timestamp() AS now, c.id, w.schema_name, w.table_name, w.subscriptions, w.unseen, c.operation, c.row_count, c.old_rows,
       c.new_rows, c.transaction_id::text::bigint AS transaction_id, c.occurred_at, c.note
FROM size AS s
LEFT JOIN (hark.row_changes AS c LEFT JOIN hark.watches AS w ON w.id = c.watch_id)
    ON s.found <= $2 AND s.bytes <= $3 AND c.id > $1 AND c.id <= s.last AND c.parked_at IS NULL
ORDER BY c.id
