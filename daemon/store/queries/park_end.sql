-- Puts the oldest end of an execution aside, because no event can be made of it: $1 why.
UPDATE hark.execution_ends AS d SET parked_at = now(), problem = $1
WHERE d.id = (SELECT o.id FROM hark.execution_ends AS o WHERE o.parked_at IS NULL ORDER BY o.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING d.execution_id
