"""Scores over training, what they did there, and how they are tested."""
