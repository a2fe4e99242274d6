"""Intervals and simultaneous bands: what every number comes with."""
