"""Mutation testing of the statistics: `make mutants`."""
