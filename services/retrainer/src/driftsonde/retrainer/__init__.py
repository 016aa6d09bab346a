"""The retrainer service."""
