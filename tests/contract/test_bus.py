"""The bus contract on NATS JetStream and in memory, and what only a real broker can show."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.bus import NatsBus, connect_bus
from driftsonde.core.errors import ConfigError
from driftsonde.core.events import PREFIX
from driftsonde.core.lifecycle import Health
from driftsonde.core.local.stack import free_port
from driftsonde.core.testing.bus_contract import BusContract, Recorder, RunningBus, resolved, wait_until
from driftsonde.core.testing.fakes import MemoryBus


class Server:
    """A real nats-server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self, **more: Any) -> None:
        program, config = Path(sys.executable).parent / "nats-server", self._folder / "nats.json"
        stored = {"store_dir": str(self._folder / "js"), "sync_interval": "always"}
        config.write_text(json.dumps({"listen": f"127.0.0.1:{self.port}", "jetstream": stored, **more}))
        self._process = subprocess.Popen([program, "-c", config], stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


class TestMemoryBus(BusContract):
    @pytest.fixture(autouse=True)
    def _bus(self) -> None:
        self._bus_ = MemoryBus()

    def make(self) -> RunningBus:
        return self._bus_

    async def settle(self, bus: RunningBus, until: Callable[[], bool]) -> None:
        await self._bus_.drain()
        assert until()

    async def dead_letters(self, bus: RunningBus) -> list[str]:
        return [reason for _, reason in self._bus_.dead_letters]

    async def publish_raw(self, bus: RunningBus, body: bytes) -> None:
        await self._bus_.publish_raw(f"{PREFIX}.drift.resolved", body)


class TestNatsBus(BusContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: Server) -> None:
        self._server_ = server

    def make(self) -> NatsBus:
        return NatsBus(self._server_.url)

    async def settle(self, bus: RunningBus, until: Callable[[], bool]) -> None:
        await wait_until(until)

    async def dead_letters(self, bus: RunningBus) -> list[str]:
        return [letter["reason"] for letter in await read_dead_letters(self._server_.url)]

    async def publish_raw(self, bus: RunningBus, body: bytes) -> None:
        import nats

        client = await nats.connect(self._server_.url)
        await client.jetstream().publish(f"{PREFIX}.drift.resolved.churn", body)
        await client.close()

    async def test_unknown_error_comes_back_with_delay_not_at_once(self) -> None:
        bus, handler = self.make(), Recorder(*(ZeroDivisionError("a bug") for _ in range(50)))
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await bus.publish(resolved(1))
            await wait_until(lambda: len(handler.seen) >= 2)
            assert len(handler.seen) == 2

    async def test_event_published_while_service_was_away_arrives(self) -> None:
        first, handler = self.make(), Recorder()
        first.subscribe("one", ["drift.resolved"], handler)
        async with first.running():
            await first.publish(resolved(1))
            await wait_until(lambda: bool(handler.seen))
        publisher = self.make()
        async with publisher.running():
            await publisher.publish(resolved(2))
        again, later = self.make(), Recorder()
        again.subscribe("one", ["drift.resolved"], later)
        async with again.running():
            await wait_until(lambda: bool(later.seen))
        assert later.episodes == [2]

    async def test_acknowledged_event_survives_a_killed_broker(self) -> None:
        publisher = self.make()
        async with publisher.running():
            await publisher.publish(resolved(1))
        self._server_.kill()
        self._server_.start()
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await wait_until(lambda: bool(handler.seen))
        assert handler.episodes == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nats-py leaves the connection open that was refused
async def test_wrong_credentials_are_told_and_tried_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftsonde.core.bus.nats._LOOK_SECONDS", 0.2)
    server.kill()
    server.start(authorization={"user": "me", "password": "right"})
    health = Health()
    health.started()
    bus = NatsBus(f"nats://me:wrong@127.0.0.1:{server.port}", health=health)
    running = bus.running()
    entering = asyncio.create_task(running.__aenter__())
    await wait_until(lambda: any("Authorization" in trouble for trouble in health.problems()))
    assert not entering.done()
    server.kill()
    server.start(authorization={"user": "me", "password": "wrong"})
    await asyncio.wait_for(entering, 10)
    await bus.publish(resolved(1))
    await running.__aexit__(None, None, None)
    gc.collect()  # here, where its warning is ignored


async def read_dead_letters(url: str) -> list[dict[str, Any]]:
    import nats

    client = await nats.connect(url)
    stream = client.jetstream()
    found = []
    state = (await stream.stream_info("DRIFTSONDE_DEAD_LETTERS")).state
    for sequence in range(state.first_seq or 1, state.last_seq + 1):
        message = await stream.get_msg("DRIFTSONDE_DEAD_LETTERS", sequence)
        found.append(json.loads(message.data or b"{}"))
    await client.close()
    return found


def test_unknown_bus_url_is_refused_without_secrets() -> None:
    with pytest.raises(ConfigError, match="bus_url") as caught:
        connect_bus("amqp://me:hunter2@broker")
    assert "hunter2" not in str(caught.value)
