-- A version's whole definition, with the workflow's slug.
SELECT w.slug, v.definition
FROM hark.workflow_versions AS v
JOIN hark.workflows AS w ON w.tenant_id = v.tenant_id AND w.id = v.workflow_id
WHERE v.tenant_id = $1 AND v.workflow_id = $2 AND v.version = $3
