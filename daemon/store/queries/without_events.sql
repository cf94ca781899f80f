-- Lines of the archive ($1), each without what some of its events said ($2: which line, $3: which event).
SELECT u.n, hark.without_events(u.line::jsonb, ARRAY(
           SELECT e.id FROM unnest($2::integer[], $3::uuid[]) AS e (n, id) WHERE e.n = u.n)) AS line
FROM unnest($1::text[]) WITH ORDINALITY AS u (line, n)
ORDER BY u.n
