-- Workflows with a trigger on a route that are not active now, one ($3) or all, and since when; $4 at the most.
SELECT w.id AS workflow_id, w.slug, t.id AS trigger_id,
       CASE WHEN w.status = 'active' THEN 'paused' ELSE w.status END AS state,
       coalesce(w.paused_at, w.updated_at) AS since
FROM hark.workflow_triggers AS t
JOIN hark.workflows AS w ON w.tenant_id = t.tenant_id AND w.id = t.workflow_id
WHERE t.tenant_id = $1 AND t.route = $2 AND NOT w.is_active AND ($3::uuid IS NULL OR w.id = $3)
ORDER BY w.slug, t.id
LIMIT $4
