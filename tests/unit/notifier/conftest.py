"""Fixtures of the notifier's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .support import ListChannel, Rig, Server, http_rig, scripted_server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A scripted HTTP server."""
    async with scripted_server() as served:
        yield served


@pytest.fixture
async def slack_rig(tmp_path: Path, server: Server) -> AsyncIterator[Rig]:
    """A notifier whose channel `ops` is Slack, played by `server`."""
    async with http_rig(tmp_path, {"ops": server}) as rig:
        yield rig


@pytest.fixture
def channel() -> ListChannel:
    """A channel in memory."""
    return ListChannel()


@pytest.fixture
def rig(tmp_path: Path, channel: ListChannel) -> Iterator[Rig]:
    """A notifier whose channel `ops` is in memory."""
    built = Rig(tmp_path, {"ops": channel})
    yield built
    built.close()
