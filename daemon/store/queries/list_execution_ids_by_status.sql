-- A page of executions with one of the statuses $4, newest first: $2 > id >= $3; of workflow $6 (NULL: of any); parts too if $7.
-- For statuses other than completed, which executions_not_completed finds among a million completed ones.
SELECT found.id
FROM unnest($4::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT e.id
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.status = wanted.status AND e.status <> 'completed' AND e.id < $2 AND e.id >= $3
      AND ($6::uuid IS NULL OR e.workflow_id = $6) AND ($7 OR e.part IS NULL)
    ORDER BY e.id DESC
    LIMIT $5
) AS found
ORDER BY found.id DESC
LIMIT $5
