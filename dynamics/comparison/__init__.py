"""Runs compared: what data, model and schedule change, paired where items allow it, and what cannot be told apart."""
