"""The detector's schema, revision by revision."""
