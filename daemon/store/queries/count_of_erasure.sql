-- What is there of some executions ($3) and events ($4); an event is only emptied when something stays that names it.
WITH heard AS MATERIALIZED (
    -- OFFSET 0 keeps it a look at one after the other, by key.
    SELECT EXISTS (
        SELECT FROM hark.workflow_executions AS e
        WHERE e.tenant_id = v.tenant_id AND e.event_id = v.id
          AND e.id BETWEEN hark.first_beside(v.id) AND hark.last_beside(v.id)
          AND NOT EXISTS (SELECT FROM hark.erasing AS x WHERE x.tenant_id = e.tenant_id AND x.erasure_id = $2
                          AND x.what = 'execution' AND x.id = e.id OFFSET 0)
        OFFSET 0) AS is_needed
    FROM hark.events AS v WHERE v.tenant_id = $1 AND v.id = ANY ($4::uuid[])
)
SELECT (SELECT count(*) FROM hark.workflow_executions AS e WHERE e.tenant_id = $1 AND e.id = ANY ($3::uuid[])) AS executions,
       (SELECT count(*) FROM hark.workflow_steps AS s WHERE s.tenant_id = $1 AND s.execution_id = ANY ($3::uuid[])) AS steps,
       (SELECT count(*) FROM hark.workflow_logs AS l WHERE l.tenant_id = $1 AND l.execution_id = ANY ($3::uuid[])) AS logs,
       (SELECT count(*) FROM heard AS h WHERE NOT h.is_needed) AS events,
       (SELECT count(*) FROM heard AS h WHERE h.is_needed) AS emptied
