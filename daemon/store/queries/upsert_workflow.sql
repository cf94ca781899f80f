-- Makes a workflow, or brings its own columns in line with its new version ($8). $9: whether that is published; $10:
-- whether its triggers are off, NULL to leave that as it is; $11: whether it is a template.
INSERT INTO hark.workflows AS w (tenant_id, id, slug, name, description, category, tags, latest_version, status,
                                 published_version, active_since, paused_at, is_template, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::integer, CASE WHEN $9::boolean THEN 'active' ELSE 'draft' END,
        CASE WHEN $9 THEN $8 END, CASE WHEN $9 THEN now() END, CASE WHEN $9 AND $10::boolean THEN now() END,
        $11::boolean, $12)
ON CONFLICT (tenant_id, id) DO UPDATE
    SET name = excluded.name, description = excluded.description, category = excluded.category, tags = excluded.tags,
        latest_version = excluded.latest_version, status = excluded.status, is_template = excluded.is_template,
        published_version = excluded.published_version,
        paused_at = CASE WHEN $10 IS NULL AND w.status = 'active' AND $9 THEN w.paused_at ELSE excluded.paused_at END,
        active_since = CASE WHEN w.status = 'active' THEN w.active_since ELSE excluded.active_since END
