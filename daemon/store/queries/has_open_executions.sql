-- Whether anything of a workflow has not ended, once nearly all of its history is gone. Written so that only the index by
-- workflow serves it: through the one by status it would go through all that is open of the tenant, under a lock.
SELECT EXISTS (
    SELECT FROM hark.workflow_executions AS e
    WHERE e.tenant_id = $1 AND e.workflow_id = $2 AND e.completed_at IS NULL
)
