-- Forgets ends of which the others did not come in time.
DELETE FROM hark.workflow_joins WHERE expires_at < now()
