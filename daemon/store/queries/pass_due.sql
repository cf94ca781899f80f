-- Leads up to $1 executions that were put off, and whose time has come, through the limits that are left; how many.
SELECT hark.pass_due($1)
