"""Mergeable counts of a window over bins that were frozen with the baseline. Pure: numpy and bytes, no I/O, no clock."""
