-- How many executions have to stay of the week that is about to go.
SELECT count(*) FROM hark.staying
