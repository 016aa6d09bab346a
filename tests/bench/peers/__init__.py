"""Runners of other tools, each in its own environment. They import nothing of driftsonde but `harness`."""
