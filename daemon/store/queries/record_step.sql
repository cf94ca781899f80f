-- Records one step in the transaction of its own SQL; like record_progress.sql, for connections that send text.
WITH licence AS MATERIALIZED (
    SELECT i.id FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
), steps AS (
    INSERT INTO hark.workflow_steps AS s (tenant_id, execution_id, path, seq, verb, action_type, status, attempt, input,
                                          output, error, due_at, started_at, completed_at)
    SELECT $2::uuid, $3::uuid, $4, $5::integer, $6, $7, $8, $9::integer, $10::jsonb, $11::jsonb, $12::jsonb,
           $13::timestamptz, $14::timestamptz, $15::timestamptz
    FROM licence
    ON CONFLICT (tenant_id, execution_id, path) DO UPDATE
        SET status = excluded.status, attempt = excluded.attempt, input = excluded.input, output = excluded.output,
            error = excluded.error, due_at = excluded.due_at, started_at = excluded.started_at,
            completed_at = excluded.completed_at
        WHERE s.status IN ('pending', 'running', 'waiting', 'retrying')
    RETURNING 1
)
SELECT (SELECT id FROM licence) AS licence, (SELECT count(*) FROM steps) AS steps
