"""Procedure or style: backtracking beyond length, what it pays, what lengths are made of."""
