-- A page of the erasures that have ended, the latest first; of all, or of the subject of kind $5 and id $6.
SELECT id, kind, encode(salt, 'hex') AS salt, encode(digest, 'hex') AS digest, requested_by, begun_at,
       ended_at, executions, steps, logs, events, emptied, archived, files
FROM hark.erasures
WHERE tenant_id = $1 AND id < $2 AND id >= $3 AND ended_at IS NOT NULL
  AND ($5::text IS NULL OR (kind = $5 AND digest = sha256(salt || convert_to($5 || E'\n' || $6::text, 'UTF8'))))
ORDER BY id DESC LIMIT $4
