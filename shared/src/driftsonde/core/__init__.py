"""What the driftsonde services share: events, sketches, verdicts, adapters."""
