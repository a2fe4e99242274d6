"""What to do: train on or stop, what was gained and at which cost, which checkpoint to take."""
