"""The verdict: pure functions on counts. The formulas are those of statistics section 2; docs/statistics.md states them."""
