"""Parity reports as JSON, on the terminal, and compared over time."""
