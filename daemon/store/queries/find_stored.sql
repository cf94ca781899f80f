-- Which of these events are there: after a COMMIT whose answer was lost.
SELECT v.tenant_id, v.id FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id) JOIN hark.events AS v USING (tenant_id, id)
