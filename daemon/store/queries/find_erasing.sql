-- Which of some executions ($3), events ($4) are to be erased.
SELECT x.what, x.id FROM hark.erasing AS x
WHERE x.tenant_id = $1 AND x.erasure_id = $2
  AND ((x.what = 'execution' AND x.id = ANY ($3::uuid[])) OR (x.what = 'event' AND x.id = ANY ($4::uuid[])))
