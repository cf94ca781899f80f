-- Forgets the dedupe keys of events that an archive holds and that are erased, as erase_listed_events does of the history's.
DELETE FROM hark.event_keys AS k USING unnest($2::text[], $3::text[], $4::uuid[]) AS u (source, key, event_id)
WHERE k.tenant_id = $1 AND k.source = u.source AND k.key = u.key AND k.event_id = u.event_id
