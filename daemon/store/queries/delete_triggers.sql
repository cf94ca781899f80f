-- Forgets the triggers of a workflow, before those of its new version are written.
DELETE FROM hark.workflow_triggers WHERE tenant_id = $1 AND workflow_id = $2
