-- Puts the oldest change aside, because no event can be made of it: $1 the id after which it lies, $2 why.
WITH oldest AS (
    SELECT id FROM hark.row_changes WHERE id > $1 AND parked_at IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE hark.row_changes AS c SET parked_at = now(), note = coalesce(c.note, '{}') || jsonb_build_object('parked', $2::text)
FROM oldest WHERE c.id = oldest.id
RETURNING c.id
