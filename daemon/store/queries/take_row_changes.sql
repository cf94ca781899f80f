-- Takes the oldest changes out of the outbox; the caller stores their events in the same transaction.
-- $1 the id after which they lie, $2 most records, $3 most bytes, $4 most rows; one record is always taken. None while
-- another transaction takes some: two at once would store the younger changes of a row before the older ones.
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(7020856, 'hark.row_changes'::regclass::oid::integer) AS ours
), locked AS MATERIALIZED (
    SELECT c.id, c.row_count, coalesce(octet_length(c.old_rows), 0) + coalesce(octet_length(c.new_rows), 0) AS bytes
    FROM hark.row_changes AS c
    WHERE (SELECT ours FROM turn) AND c.id > $1 AND c.parked_at IS NULL
    ORDER BY c.id LIMIT $2
    FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT l.id, sum(l.bytes) OVER up_to AS bytes, sum(l.row_count) OVER up_to AS rows, row_number() OVER up_to AS place
    FROM locked AS l WINDOW up_to AS (ORDER BY l.id)
), taken AS (
    DELETE FROM hark.row_changes AS c USING counted AS k
    WHERE c.id = k.id AND (k.place = 1 OR (k.bytes <= $3 AND k.rows <= $4))
    RETURNING c.*
)
SELECT t.id, w.schema_name, w.table_name, w.subscriptions, w.unseen, t.operation, t.row_count, t.old_rows, t.new_rows,
       t.transaction_id::text::bigint AS transaction_id, t.occurred_at, t.note, (SELECT count(*) FROM locked) AS found, clock_timestamp() AS now
FROM taken AS t LEFT JOIN hark.watches AS w ON w.id = t.watch_id
ORDER BY t.id
