"""The contestants: one process each, in an environment of its own, told by lines of JSON what to do."""
