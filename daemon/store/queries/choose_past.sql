-- Those of some executions that their policy lets go and nothing open needs.
SELECT hark.choose_past($1, $2, $3, $4, $5)
