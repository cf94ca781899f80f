-- A slice of the executions of a tenant that go with a week.
SELECT id FROM hark.list_going($1, $2, $3, $4)
