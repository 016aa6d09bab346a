"""The retrainer's schema, revision by revision."""
