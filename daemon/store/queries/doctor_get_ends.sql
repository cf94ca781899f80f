-- Ends of executions that have waited for longer than $1 or were put aside, and workflows that others follow and that are not
-- there.
SELECT (SELECT count(*) FROM (SELECT d.parked_at, d.noted_at FROM hark.execution_ends AS d ORDER BY d.id LIMIT 10000) AS o
        WHERE o.parked_at IS NULL AND o.noted_at < now() - $1::interval) AS waiting,
       (SELECT count(*) FROM hark.execution_ends AS d WHERE d.parked_at IS NOT NULL) AS parked,
       (SELECT array_agg(DISTINCT w.slug || ' → ' || f.followed)
        FROM hark.followed_workflows AS f
        JOIN hark.workflows AS w ON w.tenant_id = f.tenant_id AND w.id = f.workflow_id
        WHERE w.is_active AND NOT EXISTS (
            SELECT FROM hark.workflows AS k WHERE k.tenant_id = f.tenant_id AND k.slug = f.followed)) AS missing
