"""How good the verdicts are: false alarms, power, season, real flights; `make quality`, or `python -m tests.quality`."""
