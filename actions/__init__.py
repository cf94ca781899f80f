"""What steps do: one file per family of actions, each entered in the catalogue."""
