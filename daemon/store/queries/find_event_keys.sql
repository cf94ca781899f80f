-- Which events hold these keys, and with which data; for events that were found to be duplicates.
SELECT k.tenant_id, k.source, k.key, k.event_id, k.digest
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (tenant_id, source, key)
JOIN hark.event_keys AS k USING (tenant_id, source, key)
