-- A slice of the executions that go with a week.
SELECT tenant_id, id FROM hark.list_going($1, $2, $3, $4)
