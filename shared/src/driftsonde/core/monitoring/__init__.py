"""The state of one monitored dataset as pure values: its baseline, its windows, its episodes."""
