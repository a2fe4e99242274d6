"""The worlds whose truth is known: one file a study, each with `cells()`."""
