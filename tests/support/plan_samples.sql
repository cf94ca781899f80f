-- Arguments for guarded statements, as text: some of what tests/support/history.py has made.
WITH live AS (
    SELECT * FROM public.made WHERE status = 'completed' AND n > (SELECT max(n) FROM public.made) - 300
    ORDER BY n DESC LIMIT 200
), run AS (
    SELECT * FROM public.made WHERE status = 'running' ORDER BY n DESC LIMIT 200
), one AS (
    SELECT * FROM public.made WHERE n % 100 = 0 AND status = 'completed' AND tenant_id = '00000000-0000-7000-8000-000000000001'
    ORDER BY abs(n - (SELECT max(n) / 2 FROM public.made)) LIMIT 1
), mine AS (
    SELECT * FROM public.made AS m WHERE m.tenant_id = '00000000-0000-7000-8000-000000000001'
), fresh AS (
    SELECT n, tenant_id, workflow_id, number, hark.new_id() AS event_id, hark.new_id() AS id FROM live
)
SELECT o.tenant_id::text AS tenant, o.id::text AS execution, o.event_id::text AS event, o.workflow_id::text AS workflow,
       '00000000-0000-7000-8000-00000000aaaa' AS instance, hark.new_id()::text AS new, 'event:E' || o.number % 1000 AS route, 'w' || o.number AS slug,
       (o.n % 9973)::text AS client, '00000000-0000-7000-8000-00000000cccc' AS erasure,
       (SELECT generation::text FROM hark.registry) AS generation,
       hark.id_floor(o.moment)::text AS event_from, hark.id_floor(o.moment + interval '1 ms')::text AS event_to,
       hark.id_floor(now() - interval '1 week')::text AS past,
       (SELECT hark.id_floor(min(moment))::text FROM live) AS recent_since,
       (SELECT id::text FROM mine WHERE status = 'waiting' ORDER BY n DESC LIMIT 1) AS waiting,
       (SELECT sha256(n::text::bytea)::text FROM mine WHERE status = 'waiting' ORDER BY n DESC LIMIT 1) AS digest,
       (SELECT id::text FROM mine WHERE status = 'running' ORDER BY n DESC LIMIT 1) AS running,
       (SELECT workflow_id::text FROM mine WHERE number % 1000 = 81 AND status = 'waiting' ORDER BY n DESC LIMIT 1) AS archived,
       (SELECT id::text FROM mine WHERE status = 'pending' AND queued ORDER BY n DESC LIMIT 1) AS queued,
       (SELECT id::text FROM live WHERE n % 100 = 1 LIMIT 1) AS batch,
       (SELECT tenant_id::text FROM live WHERE n % 100 = 1 LIMIT 1) AS batch_tenant,
       (SELECT array_agg(id)::text FROM (SELECT id FROM mine WHERE status = 'completed' ORDER BY n DESC LIMIT 50) AS p) AS page,
       (SELECT array_agg(id ORDER BY id)::text FROM run) AS running_ids,
       (SELECT array_agg(e.xmin::text::bigint ORDER BY e.id)::text
        FROM run AS r JOIN hark.workflow_executions AS e ON e.tenant_id = r.tenant_id AND e.id = r.id) AS running_versions,
       (SELECT array_agg(tenant_id)::text FROM live) AS tenants,
       (SELECT array_agg(id)::text FROM live) AS executions,
       (SELECT array_agg(event_id)::text FROM live) AS events_of,
       (SELECT array_agg(workflow_id)::text FROM live) AS workflows_of,
       (SELECT array_agg('first'::text)::text FROM live) AS paths,
       (SELECT array_agg(ROW('00000000-0000-7000-8000-00000000aaaa', tenant_id, id, 'each[0]', hark.new_id(),
                             '{"step": "each", "path": "each[0]", "key": 0, "names": {}, "vars": {}}',
                             NULL)::hark.started_part)::text FROM run) AS parts,
       (SELECT array_agg(ROW(tenant_id, 'event:E' || number % 1000, hark.id_floor(moment - interval '75 s'), '{order}',
                             n::text)::hark.awaited_event)::text FROM live) AS awaited,
       (SELECT array_agg(ROW(tenant_id, id, 'third', 2, 'action', 'probe', 'completed', 1, NULL, '{}', NULL, NULL,
                             now(), now())::hark.progress_step)::text FROM run) AS steps,
       (SELECT array_agg(ROW(tenant_id, id, CASE WHEN n % 200 < 100 THEN 'completed' ELSE 'failed' END, '{}', '{}', NULL,
                             NULL, now())::hark.progress_change)::text FROM run) AS changes,
       (SELECT array_agg(ROW(tenant_id, id, hark.new_id(), 'third', 'info', 'done', NULL)::hark.progress_log)::text
        FROM run) AS logs,
       (SELECT array_agg(ROW(tenant_id, id, hark.new_id(), 'test', 'third', NULL)::hark.progress_note)::text
        FROM run) AS notes,
       (SELECT array_agg(ROW(tenant_id, id, 'key', '1', id, 'third')::hark.progress_memory)::text FROM run) AS memories,
       (SELECT array_agg(ROW(tenant_id, id, 'wait', 'event:E1', '{order}', n::text, now())::hark.progress_wait)::text
        FROM run) AS waits_begun,
       (SELECT array_agg(ROW(tenant_id, id, 'other')::hark.progress_waited)::text FROM run) AS waits_over,
       (SELECT array_agg(ROW(tenant_id, id, 'each[3]')::hark.progress_folded)::text FROM run) AS folded,
       (SELECT array_agg(ROW(tenant_id, 'test', 'k' || n, event_id, '\x00', now() + interval '1 day')::hark.arrived_key)::text
        FROM fresh) AS keys,
       (SELECT array_agg(ROW(tenant_id, event_id, 'event', 'E1', 'test', 'event:E1', NULL, NULL, '{}', now(), NULL, 0, NULL,
                             true, NULL, NULL, event_id)::hark.arrived_event)::text FROM fresh) AS events,
       (SELECT array_agg(tenant_id)::text FROM fresh) AS tenants_1,
       (SELECT array_agg(workflow_id)::text FROM fresh) AS workflows_1,
       (SELECT array_agg(ROW(tenant_id, id, workflow_id, 1, event_id, 0, 'go', 'event', 'running', 'production', 0, NULL, 0,
                             NULL, NULL, NULL, NULL, NULL, '{}', NULL, NULL, NULL, NULL,
                             event_id)::hark.arrived_execution)::text
        FROM fresh) AS starts,
       (SELECT array_agg(ROW(tenant_id, event_id, workflow_id, 'other', 'when_false', NULL, event_id)::hark.arrived_refusal)::text
        FROM fresh) AS refusals
FROM one AS o
