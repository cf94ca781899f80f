"""What starts workflows: one file per kind of trigger, each entered in the catalogue."""
