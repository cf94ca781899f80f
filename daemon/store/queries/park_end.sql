-- Puts an end of an execution aside ($1), because no event can be made of it: $2 why. Not one that somebody else has by now.
UPDATE hark.execution_ends AS d SET parked_at = now(), problem = $2
WHERE d.id = (SELECT o.id FROM hark.execution_ends AS o WHERE o.id = $1 AND o.parked_at IS NULL FOR UPDATE SKIP LOCKED)
RETURNING d.execution_id
