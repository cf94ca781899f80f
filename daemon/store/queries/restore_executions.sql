-- Puts executions back that an archive holds.
SELECT id, outcome FROM hark.restore_executions($1, $2::jsonb[], now() + $3::interval)
