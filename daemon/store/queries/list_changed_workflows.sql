-- What the registry has to look at that was current in generation $1: the workflows changed since, or for 0 all active
-- ones; and the generation that this is. One row without a workflow when there is none.
SELECT w.tenant_id, w.id, w.slug, w.published_version AS version, w.active_since, w.is_active, r.generation, r.removed_in
FROM hark.registry AS r
LEFT JOIN hark.workflows AS w ON w.changed_in > $1 AND (w.is_active OR $1 > 0)
