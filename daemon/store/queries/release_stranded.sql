-- Gives back executions that are on record as running on this instance and do not run there, unless written to since.
UPDATE hark.workflow_executions AS e
SET status = 'pending', pending_reason = 'released', instance_id = NULL
FROM unnest($2::uuid[], $3::bigint[]) AS u (id, written_by)
WHERE e.instance_id = $1 AND e.status = 'running' AND e.id = u.id AND e.xmin::text::bigint = u.written_by
RETURNING e.id
