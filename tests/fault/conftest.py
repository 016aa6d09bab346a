"""What a fault test asks for: `rig`, or `make_rig` for one with settings of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .buses import BusKind
from .harness import Rig
from .proxies import HttpProxy, TcpProxy

MakeRig = Callable[..., Rig]


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The detector's state: SQLite, or PostgreSQL where DRIFTSONDE_FAULT_DATABASE says so."""
    if os.environ.get("DRIFTSONDE_FAULT_DATABASE", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/detector.sqlite"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def replicas() -> int:
    """Three detectors on PostgreSQL, one on SQLite."""
    return 1 if os.environ.get("DRIFTSONDE_FAULT_DATABASE", "sqlite") == "sqlite" else 3


@pytest.fixture
def bus_kind() -> BusKind:
    """NATS; tests of what the bus does wrong run on both buses."""
    return "nats"


@pytest.fixture
def make_rig(emulator: str, tmp_path: Path, database: str, replicas: int, bus_kind: BusKind) -> Iterator[MakeRig]:
    """Make a rig; keywords as its arguments."""
    made: list[Rig] = []

    def make(**arguments: Any) -> Rig:
        made.append(Rig(emulator, tmp_path, **{"database": database, "replicas": replicas, "bus_kind": bus_kind, **arguments}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A running detector."""
    return make_rig().start()


@pytest.fixture
def http(emulator: str) -> Iterator[HttpProxy]:
    """A scripted relay to the emulator."""
    proxy = HttpProxy(emulator)
    yield proxy
    proxy.close()


@pytest.fixture
def tcp() -> Iterator[Callable[[int | str], TcpProxy]]:
    """Makes relays to ports."""
    made: list[TcpProxy] = []

    def make(target: int | str) -> TcpProxy:
        made.append(TcpProxy(target))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what was seen of a test as soon as it is over: a campaign that is cut off has seen something all the same."""
    path = os.environ.get("DRIFTSONDE_FAULT_REPORT")
    if path and (report.when == "call" or report.outcome != "passed"):
        file, _, test = report.nodeid.partition("::")
        line = {"file": Path(file).name, "test": test, "outcome": report.outcome, "seconds": round(report.duration, 1)}
        if report.failed:
            line["why"] = report.longreprtext[-3000:]
        with Path(path).open("a") as notes:
            notes.write(json.dumps(line) + "\n")
