-- What an erasure has taken so far.
SELECT id, executions, steps, logs, events, emptied, archived, files FROM hark.erasures WHERE tenant_id = $1 AND id = $2
