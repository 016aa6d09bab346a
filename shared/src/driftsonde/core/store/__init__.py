"""State: one SQLite file or one PostgreSQL schema per service, the transactional outbox and inbox."""
