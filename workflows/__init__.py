"""What a workflow is: its language, models, expressions and rules. Pure: no I/O, no database, no network."""
