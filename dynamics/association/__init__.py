"""Which metrics move with which scores, and how much of it a number of runs can show."""
