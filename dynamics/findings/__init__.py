"""Sentences built from numbers, with what they rest on."""
