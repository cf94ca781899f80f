-- Some workflow with a trigger and some execution, to look up; what there is none of is the nil UUID or empty.
SELECT coalesce(t.tenant_id, '00000000-0000-0000-0000-000000000000') AS trigger_tenant, coalesce(t.route, '') AS route,
       coalesce(e.tenant_id, '00000000-0000-0000-0000-000000000000') AS tenant,
       coalesce(e.workflow_id, '00000000-0000-0000-0000-000000000000') AS workflow,
       coalesce(e.id, '00000000-0000-0000-0000-000000000000') AS execution
FROM (VALUES (1)) AS always (one)
LEFT JOIN (SELECT x.tenant_id, x.route FROM hark.workflow_triggers AS x LIMIT 1) AS t ON true
LEFT JOIN (SELECT x.tenant_id, x.workflow_id, x.id FROM hark.workflow_executions AS x LIMIT 1) AS e ON true
