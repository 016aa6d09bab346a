"""A real control plane, and clients of it and of the emulator."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .support import Plane, client, credentials


@pytest.fixture
def aws(emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The emulator, also by the environment, as users reach it."""
    for name, value in credentials(emulator).items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture
async def s3(aws: str) -> AsyncIterator[Any]:
    """S3 of the emulator."""
    async with client("s3") as opened:
        yield opened


@pytest.fixture
async def bucket(s3: Any) -> str:
    """A bucket of this test alone."""
    name = f"jobs-{uuid.uuid4().hex[:12]}"
    await s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def plane(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane with short states and no events, for every test that leaves it running."""
    plane = Plane(tmp_path_factory.mktemp("sagemaker") / "root", emulator)
    plane.start()
    yield plane
    assert plane.stop() == 0


@pytest.fixture
def start_plane(emulator: str, tmp_path: Path) -> Iterator[Callable[..., Plane]]:
    """Start control planes of this test alone, with options."""
    started: list[Plane] = []

    def start(*options: str) -> Plane:
        plane = Plane(tmp_path / f"root-{len(started)}", emulator, *options)
        started.append(plane)
        plane.start()
        return plane

    yield start
    for plane in started:
        plane.stop()


@pytest.fixture
async def sagemaker(aws: str, plane: Plane) -> AsyncIterator[Any]:
    """A client of `plane`."""
    async with client("sagemaker", plane.url) as opened:
        yield opened
