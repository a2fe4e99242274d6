"""Whether a metric foretells a score on runs that were not used to fit it."""
