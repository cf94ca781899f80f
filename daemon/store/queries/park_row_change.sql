-- Puts changes aside, because no event can be made of them: $1 ids, $2 why.
UPDATE hark.row_changes AS c SET parked_at = now(), note = coalesce(c.note, '{}') || jsonb_build_object('parked', $2::text)
WHERE c.id = ANY ($1::bigint[]) AND c.parked_at IS NULL
