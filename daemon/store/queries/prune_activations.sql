-- Deletes a batch of what workflows were at times that no event is from any more: neither one that is stored, nor one that the
-- longest policy would still keep ($1 usual, $2 failed, $3 unmatched). What a workflow was when that begins stays.
WITH horizon AS MATERIALIZED (
    SELECT r.tenant_id,
           least(now() - $3::interval, r.failed_since,
                 (SELECT min(o.failed_since) FROM hark.own_retention($1, $2) AS o WHERE o.tenant_id = r.tenant_id),
                 (SELECT hark.id_time(e.id) FROM hark.events AS e WHERE e.tenant_id = r.tenant_id ORDER BY e.id LIMIT 1)) AS began
    FROM hark.retention_of($1, $2) AS r
), old AS MATERIALIZED (
    SELECT a.tenant_id, a.workflow_id, a.since
    FROM horizon AS h
    JOIN hark.workflow_activations AS a ON a.tenant_id = h.tenant_id AND a.since < h.began
    WHERE EXISTS (SELECT FROM hark.workflow_activations AS n
                  WHERE n.tenant_id = a.tenant_id AND n.workflow_id = a.workflow_id AND n.since > a.since AND n.since <= h.began)
    LIMIT $4
), gone AS (
    DELETE FROM hark.workflow_activations AS a USING old AS o
    WHERE a.tenant_id = o.tenant_id AND a.workflow_id = o.workflow_id AND a.since = o.since
    RETURNING 1
)
SELECT count(*) FROM gone
