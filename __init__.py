"""sftscope: see what reasoning fine-tuning does to a language model, while it does it."""

__version__ = "0.1.0"
