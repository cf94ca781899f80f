-- What runs of versions, without what only says when they start: workflows that differ in that alone have the same text.
SELECT v.tenant_id, v.workflow_id, v.version, v.definition ->> 'id' AS slug,
       (v.definition - '{schema,id,name,description,category,tags,inputs,triggers,conditions,overlap,max_running,concurrency,idempotency,throttle,rate_limit,debounce,batch,priority,tests,metadata}'::text[])::text AS body
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS u (tenant_id, workflow_id, version)
JOIN hark.workflow_versions AS v USING (tenant_id, workflow_id, version)
