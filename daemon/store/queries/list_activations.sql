-- What the workflows were at a moment ($2) that have changed since: state NULL for those that were not there yet. A page
-- of them by id: $5 after $4.
SELECT c.workflow_id, w.slug, a.state, a.version, a.since, n.since AS changed_at, n.state AS changed_to
FROM (SELECT DISTINCT x.workflow_id FROM hark.workflow_activations AS x
      WHERE x.tenant_id = $1 AND x.since > $2 AND ($3::uuid IS NULL OR x.workflow_id = $3) AND x.workflow_id > $4
      ORDER BY x.workflow_id LIMIT $5) AS c
JOIN hark.workflows AS w ON w.tenant_id = $1 AND w.id = c.workflow_id
LEFT JOIN LATERAL (
    SELECT y.state, y.version, y.since FROM hark.workflow_activations AS y
    WHERE y.tenant_id = $1 AND y.workflow_id = c.workflow_id AND y.since <= $2 ORDER BY y.since DESC LIMIT 1
) AS a ON true
LEFT JOIN LATERAL (
    SELECT z.state, z.since FROM hark.workflow_activations AS z
    WHERE z.tenant_id = $1 AND z.workflow_id = c.workflow_id AND z.since > $2 ORDER BY z.since LIMIT 1
) AS n ON true
ORDER BY c.workflow_id
