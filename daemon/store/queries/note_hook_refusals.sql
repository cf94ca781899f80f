-- Counts refused webhooks; of each path and status the last one is kept in full. In one order everywhere, or two instances deadlock.
INSERT INTO hark.hook_refusals AS r (tenant_id, path, status, count, detail, method, client)
SELECT u.tenant_id, u.path, u.status, u.count, u.detail, u.method, u.client
FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::text[])
    AS u (tenant_id, path, status, count, detail, method, client)
JOIN hark.tenants AS t ON t.id = u.tenant_id
ORDER BY u.tenant_id, u.path, u.status
ON CONFLICT (tenant_id, path, status) DO UPDATE
    SET count = r.count + excluded.count, last_at = now(), detail = excluded.detail, method = excluded.method,
        client = excluded.client
