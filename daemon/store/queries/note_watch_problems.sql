-- Notes what keeps tables from being captured: $1 watches, $2 problems (NULL: none), pairwise.
UPDATE hark.watches AS w SET problem = u.problem, changed_at = now()
FROM unnest($1::integer[], $2::text[]) AS u (id, problem)
WHERE w.id = u.id AND w.problem IS DISTINCT FROM u.problem
