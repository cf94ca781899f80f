-- How long it takes to find the workflows on a trigger's route: $1 tenant, $2 route.
EXPLAIN (ANALYZE, FORMAT JSON)
SELECT t.workflow_id FROM hark.workflow_triggers AS t WHERE t.tenant_id = $1 AND t.route = $2
