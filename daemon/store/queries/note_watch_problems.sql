-- Notes what keeps tables from being captured, and what workflows miss in their rows: $1 watches, $2 problems (NULL: none),
-- $3 warnings as JSON arrays, pairwise.
UPDATE hark.watches AS w SET problem = u.problem, warnings = u.warnings::jsonb, changed_at = now()
FROM unnest($1::integer[], $2::text[], $3::text[]) AS u (id, problem, warnings)
WHERE w.id = u.id AND (w.problem IS DISTINCT FROM u.problem OR w.warnings <> u.warnings::jsonb)
