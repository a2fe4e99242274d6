"""Scores measured anywhere, as a run folder of their own: a table of scores per step, or a harness's results."""
