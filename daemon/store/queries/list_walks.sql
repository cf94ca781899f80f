-- Where executions are past that do not go with their week.
SELECT tenant_id, workflow_id, until, whatever_age FROM hark.retention_walks($1, $2, $3)
