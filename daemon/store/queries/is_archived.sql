-- Whether a workflow is out of service.
SELECT EXISTS (SELECT FROM hark.workflows WHERE tenant_id = $1 AND id = $2 AND status = 'archived')
