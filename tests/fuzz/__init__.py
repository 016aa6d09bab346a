"""Inputs that nobody would write, by the thousand: `python -m tests.fuzz`."""
