-- What is there of workflow $2 of tenant $1 and its execution $3, by table.
SELECT 'workflows' AS name, count(*) AS rows FROM hark.workflows WHERE tenant_id = $1 AND id = $2
UNION ALL
SELECT 'workflow_versions', count(*) FROM hark.workflow_versions WHERE tenant_id = $1 AND workflow_id = $2
UNION ALL
SELECT 'workflow_triggers', count(*) FROM hark.workflow_triggers WHERE tenant_id = $1 AND workflow_id = $2
UNION ALL
SELECT 'schedules', count(*) FROM hark.schedules WHERE tenant_id = $1 AND workflow_id = $2
UNION ALL
SELECT 'event_decisions', count(*) FROM hark.event_decisions WHERE tenant_id = $1 AND event_id = $3
UNION ALL
SELECT 'workflow_executions', count(*) FROM hark.workflow_executions WHERE tenant_id = $1 AND id = $3
UNION ALL
SELECT 'workflow_steps', count(*) FROM hark.workflow_steps WHERE tenant_id = $1 AND execution_id = $3
UNION ALL
SELECT 'workflow_timeline', count(*) FROM hark.workflow_timeline WHERE tenant_id = $1 AND execution_id = $3
UNION ALL
SELECT 'workflow_logs', count(*) FROM hark.workflow_logs WHERE tenant_id = $1 AND execution_id = $3
UNION ALL
SELECT 'workflow_context', count(*) FROM hark.workflow_context WHERE tenant_id = $1 AND execution_id = $3
UNION ALL
SELECT 'waits', count(*) FROM hark.waits WHERE tenant_id = $1 AND execution_id = $3
