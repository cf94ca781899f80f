-- Executions as lines of an archive.
SELECT id, line, keys, steps, events, logs FROM hark.export_executions($1, $2)
