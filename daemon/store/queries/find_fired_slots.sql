-- Which slots of a cron trigger have fired, as far as that is on record: $1 tenant, $2 route, $3 source of its events,
-- $4 the first id that such an event may have, $5 to $6 the slots between which, as text in $7 to $8.
SELECT e.dedupe_key AS slot
FROM hark.events AS e
WHERE e.route = $2 AND e.tenant_id = $1 AND e.id >= $4
  AND e.occurred_at >= $5 AND e.occurred_at < $6 AND e.dedupe_key IS NOT NULL
UNION
SELECT k.key
FROM hark.event_keys AS k
WHERE k.tenant_id = $1 AND k.source = $3 AND k.key >= $7 AND k.key < $8 AND k.expires_at > now()
