"""The revisions make what `store` declares."""

from __future__ import annotations

from driftsonde.core.testing.migrations import differences
from driftsonde.detector import store


def test_migrations_make_exactly_the_declared_tables(database_url: str) -> None:
    assert differences(database_url, store.MIGRATIONS, store.metadata) == []
