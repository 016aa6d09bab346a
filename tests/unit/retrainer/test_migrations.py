"""The revisions make what `store` declares."""

from __future__ import annotations

from pathlib import Path

from driftsonde.core.testing.migrations import differences
from driftsonde.retrainer import store
from driftsonde.retrainer.app import MIGRATIONS


def test_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    assert differences(f"sqlite:///{tmp_path}/retrainer.db", MIGRATIONS, store.metadata) == []


def test_migrations_make_the_same_tables_on_postgres(postgres_url: str) -> None:
    assert differences(postgres_url, MIGRATIONS, store.metadata) == []
