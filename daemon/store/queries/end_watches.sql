-- Marks watches as ended; who was interested stays, for the changes that are still on their way.
UPDATE hark.watches SET active = false, problem = NULL, changed_at = now() WHERE id = ANY ($1::integer[]) AND active
