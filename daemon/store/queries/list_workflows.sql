-- A page of a tenant's workflows. $2 is_active, $3 category, $4 tags (all of them), $5 status, $6 text in name or slug;
-- NULL: whatever. Archived ones only when asked for. $7 order, $8 downward, $9 limit, $10 offset.
WITH page AS MATERIALIZED (
    SELECT k.*, row_number() OVER (
        ORDER BY CASE WHEN NOT $8::boolean THEN k.sort_key END, CASE WHEN $8 THEN k.sort_key END DESC, k.id
    ) AS place
    FROM (
        SELECT w.*, CASE $7::text
                        WHEN 'name' THEN lower(w.name)
                        WHEN 'slug' THEN w.slug
                        WHEN 'updated_at' THEN to_char(w.updated_at, 'YYYYMMDDHH24MISSUS')
                        ELSE to_char(w.created_at, 'YYYYMMDDHH24MISSUS')
                    END AS sort_key
        FROM hark.workflows AS w
        WHERE w.tenant_id = $1
          AND ($2::boolean IS NULL OR w.is_active = $2)
          AND ($3::text IS NULL OR w.category = $3)
          AND ($4::text[] IS NULL OR w.tags @> $4)
          AND CASE WHEN $5::text IS NULL THEN w.status <> 'archived' ELSE $5 IN (w.status, 'all') END
          AND ($6::text IS NULL OR strpos(lower(w.name || ' ' || w.slug), lower($6)) > 0)
    ) AS k
    ORDER BY place
    LIMIT $9 OFFSET $10
)
SELECT p.id, p.slug, p.name, p.description, p.category, p.tags, p.status, p.is_active, p.is_template, p.paused_at,
       p.published_version, p.latest_version, p.created_at, p.updated_at, t.triggers, x.last_execution
FROM page AS p
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'kind', t.kind, 'route', t.route, 'event_type', t.event_type)
                              ORDER BY t.id), '[]') AS triggers
    FROM hark.workflow_triggers AS t
    WHERE t.tenant_id = p.tenant_id AND t.workflow_id = p.id
) AS t
LEFT JOIN LATERAL (
    SELECT jsonb_build_object('id', e.id, 'status', e.status, 'created_at', hark.id_time(e.id)) AS last_execution
    FROM hark.workflow_executions AS e
    WHERE e.tenant_id = p.tenant_id AND e.workflow_id = p.id
    ORDER BY e.id DESC
    LIMIT 1
) AS x ON true
ORDER BY p.place
