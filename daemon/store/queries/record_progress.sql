-- Records steps, state changes of executions, logs and timeline of all executions in flight; one transaction per flush.
-- $1 instance: its row is the licence to write; without it nothing is written. No joins of two row sets here: the
-- connection runs with hash and merge joins off, so that the plan stays good on empty and on large tables alike.
WITH licence AS MATERIALIZED (
    SELECT i.id, hark.lock_lanes_of($3::hark.progress_change[]) FROM hark.instances AS i WHERE i.id = $1 FOR KEY SHARE
), steps AS (
    INSERT INTO hark.workflow_steps AS s (tenant_id, execution_id, path, seq, verb, action_type, status, attempt, input,
                                          output, error, due_at, started_at, completed_at)
    SELECT u.tenant_id, u.execution_id, u.path, u.seq, u.verb, u.action_type, u.status, u.attempt, u.input::jsonb,
           u.output::jsonb, u.error::jsonb, u.due_at, u.started_at, u.completed_at
    FROM unnest($2::hark.progress_step[]) AS u
    WHERE EXISTS (SELECT FROM licence)
    ON CONFLICT (tenant_id, execution_id, path) DO UPDATE
        SET status = excluded.status, attempt = excluded.attempt, input = excluded.input, output = excluded.output,
            error = excluded.error, due_at = excluded.due_at, started_at = excluded.started_at,
            completed_at = excluded.completed_at
        -- After a COMMIT whose answer was lost this may come again when another instance is an attempt further.
        WHERE s.status IN ('pending', 'running', 'waiting', 'retrying')
          AND (s.attempt <= excluded.attempt OR excluded.completed_at IS NOT NULL)
), executions AS (
    UPDATE hark.workflow_executions AS e
    SET status = u.status, output = u.output::jsonb, error = u.error::jsonb,
        -- It has not heard that it was cancelled, or that what it waits for has come: it does not wait.
        due_at = CASE WHEN u.status = 'waiting' AND (e.woken OR e.cancel_requested_at IS NOT NULL) THEN now()
                      ELSE u.due_at END,
        pending_reason = u.pending_reason, completed_at = u.completed_at, instance_id = NULL, claims = 0
    FROM unnest($3::hark.progress_change[]) AS u
    -- What has an owner is running. Written so that no index serves it: prepared on an empty table, the statement would
    -- otherwise go through all executions of the instance for each row.
    WHERE EXISTS (SELECT FROM licence) AND e.tenant_id = u.tenant_id AND e.id = u.id AND e.instance_id IS NOT DISTINCT FROM $1
    RETURNING e.tenant_id, e.id, e.workflow_id, e.completed_at IS NOT NULL AND e.part IS NULL AND e.mode = 'production' AS ends
), logs AS (
    INSERT INTO hark.workflow_logs (tenant_id, execution_id, id, path, level, message, data)
    SELECT u.tenant_id, u.execution_id, u.id, u.path, u.level, u.message, u.data::jsonb
    FROM unnest($4::hark.progress_log[]) AS u
    WHERE EXISTS (SELECT FROM licence)
    ON CONFLICT (tenant_id, execution_id, id) DO NOTHING
), timeline AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, path, detail)
    SELECT u.tenant_id, u.execution_id, u.id, u.type, u.path, u.detail::jsonb
    FROM unnest($5::hark.progress_note[]) AS u
    WHERE EXISTS (SELECT FROM licence)
    ON CONFLICT (tenant_id, execution_id, id) DO NOTHING
), context AS (
    INSERT INTO hark.workflow_context AS c (tenant_id, execution_id, key, value, updated_by)
    SELECT u.tenant_id, u.execution_id, u.key, u.value::jsonb, 'step:' || u.path
    FROM unnest($6::hark.progress_memory[]) AS u
    -- Written once with its step: between a COMMIT whose answer was lost and its repetition somebody may have changed it.
    WHERE EXISTS (SELECT FROM licence) AND NOT hark.step_has_completed(u.tenant_id, u.step_execution_id, u.path)
    ON CONFLICT (tenant_id, execution_id, key) DO UPDATE
        SET value = excluded.value, updated_at = excluded.updated_at, updated_by = excluded.updated_by
)
SELECT (SELECT id FROM licence) AS licence,
       -- Apart: most flushes have none, and four more tables to open cost them a tenth of a millisecond.
       CASE WHEN cardinality($7::hark.progress_wait[]) + cardinality($8::hark.progress_waited[]) > 0
                 AND EXISTS (SELECT FROM licence) THEN hark.record_waits($7, $8) END AS waits,
       CASE WHEN cardinality($9::hark.progress_folded[]) > 0 AND EXISTS (SELECT FROM licence)
            THEN hark.remove_folded($9) END AS folds,
       -- With this statement in every flush it has to cost nothing as long as no workflow starts after another one.
       CASE WHEN EXISTS (SELECT FROM hark.followed_workflows) THEN hark.note_ends(
           ARRAY(SELECT x.tenant_id FROM executions AS x WHERE x.ends), ARRAY(SELECT x.id FROM executions AS x WHERE x.ends),
           ARRAY(SELECT x.workflow_id FROM executions AS x WHERE x.ends)) END AS followed
