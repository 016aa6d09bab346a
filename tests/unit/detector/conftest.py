"""Fixtures of the detector's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.testing.objects import MemoryObjects

from .support import Rig, config

MakeRig = Callable[..., Rig]


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/detector.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def make_rig(database_url: str) -> Iterator[MakeRig]:
    """Make detectors over the database; keywords are keys of the monitor, or `versioned` for its buckets."""
    made: list[Rig] = []

    def make(*, versioned: bool = False, monitors: int = 1, **changes: Any) -> Rig:
        made.append(Rig(database_url, config(monitors, **changes), objects=MemoryObjects(versioned=versioned)))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A detector on SQLite, for what does not depend on the database."""
    made = Rig(f"sqlite:///{tmp_path}/detector.db")
    yield made
    made.close()
