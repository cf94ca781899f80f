-- The step executions of one execution, in the order in which it reached them. What a fold keeps for the engine is not shown.
SELECT s.path, s.seq, s.verb, s.action_type, s.status, s.attempt, CASE WHEN s.verb <> 'fold' THEN s.input END AS input, s.output, s.error, s.due_at, s.started_at,
       s.completed_at, round((extract(epoch FROM s.completed_at - s.started_at) * 1000)::numeric, 1)::float8 AS duration_ms
FROM hark.workflow_steps AS s
WHERE s.tenant_id = $1 AND s.execution_id = $2
ORDER BY s.seq, s.path
LIMIT $3
