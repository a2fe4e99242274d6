"""Error rates and power of every inference, by simulation: `python -m sftscope.dynamics.calibrate`."""
