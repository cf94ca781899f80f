-- What is on record of an execution's steps, in the order in which it reached them: what a replay is planned by.
SELECT s.path, s.verb, s.status, CASE WHEN s.verb = 'fold' THEN s.output -> 'turns' END AS folded
FROM hark.workflow_steps AS s
WHERE s.tenant_id = $1 AND s.execution_id = $2
ORDER BY s.seq
