-- Deletes a batch of events that started nothing and are older than their policy, with the reasons why.
WITH old AS (
    DELETE FROM hark.events AS e
    USING (SELECT tenant_id, id FROM hark.events
           WHERE NOT matched AND id < hark.id_floor(now() - $1::interval) ORDER BY id LIMIT $2) AS o
    WHERE e.tenant_id = o.tenant_id AND e.id = o.id AND e.id < hark.id_floor(now() - $1::interval) AND NOT e.matched
    RETURNING e.tenant_id, e.id
), reasons AS (
    DELETE FROM hark.event_decisions AS d USING old WHERE d.tenant_id = old.tenant_id AND d.event_id = old.id
)
SELECT count(*) FROM old
