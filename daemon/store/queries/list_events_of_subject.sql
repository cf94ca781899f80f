-- Notes a slice of the events about a subject as to be erased; where the slice ends, nothing behind the last.
WITH slice AS MATERIALIZED (
    SELECT v.id FROM hark.events AS v
    WHERE v.tenant_id = $1 AND v.subject_kind = $3 AND v.subject_id = $4 AND v.id > $5 AND v.id < $6
    ORDER BY v.id LIMIT $7
), noted AS (
    INSERT INTO hark.erasing (tenant_id, erasure_id, what, id) SELECT $1, $2, 'event', s.id FROM slice AS s
    ON CONFLICT DO NOTHING
)
SELECT s.id FROM slice AS s ORDER BY s.id DESC LIMIT 1
