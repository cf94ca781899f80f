-- What holds a pending execution back: its lane with up to five holders and the place in its queue, how full its batch is,
-- or until when it is put off. No row when nothing does.
SELECT e.pending_reason AS reason, e.due_at AS until, l.key, l.most AS "limit",
       ARRAY(SELECT s.execution_id FROM hark.slots AS s
             WHERE s.tenant_id = l.tenant_id AND s.lane_id = l.id ORDER BY s.execution_id LIMIT 5) AS behind,
       CASE WHEN e.queued THEN 1 + (
           SELECT count(*) FROM hark.workflow_executions AS q
           WHERE q.queued AND q.status = 'pending' AND q.lanes[q.held + 1] = l.id
             AND (q.priority > e.priority OR (q.priority = e.priority AND q.id < e.id))) END AS place,
       CASE e.pending_reason WHEN 'batched' THEN (
           SELECT count(*) FROM hark.execution_events AS x
           WHERE x.tenant_id = e.tenant_id AND x.execution_id = e.id) END AS collected,
       (e.limits -> 'batch' ->> 'size')::integer AS size
FROM hark.workflow_executions AS e
LEFT JOIN hark.lanes AS l ON e.queued AND l.tenant_id = e.tenant_id AND l.id = e.lanes[e.held + 1]
WHERE e.tenant_id = $1 AND e.id = $2 AND e.status = 'pending' AND (e.queued OR e.due_at IS NOT NULL)
