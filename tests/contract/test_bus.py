"""The bus contract on NATS JetStream, on SNS and SQS (the emulator) and in memory, and what only a real broker can show."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.aws.session import aws_client
from driftsonde.core.bus import RunningBus, connect_bus
from driftsonde.core.bus.nats import NatsBus
from driftsonde.core.bus.sns import SnsAddress, SnsBus
from driftsonde.core.errors import ConfigError, RetryableError
from driftsonde.core.events import PREFIX, DriftResolved, Event
from driftsonde.core.lifecycle import Health
from driftsonde.core.local.stack import free_port
from driftsonde.core.local.topic import create_topic
from driftsonde.core.testing.bus_contract import BusContract, Recorder, resolved, wait_until
from driftsonde.core.testing.fakes import MemoryBus


def emulated(endpoint: str) -> dict[str, str]:
    """The variables that point AWS clients at the emulator."""
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


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


class TestSnsBus(BusContract):
    @pytest.fixture(autouse=True)
    async def _topic(self, emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in emulated(emulator).items():
            monkeypatch.setenv(name, value)
        self.url = await create_topic(f"bus-{uuid.uuid4().hex[:12]}", ("one", "two"))
        self.address = SnsAddress.parse(self.url)

    def make(self) -> SnsBus:
        return SnsBus(self.url, wait=1)

    async def settle(self, bus: RunningBus, until: Callable[[], bool]) -> None:
        await wait_until(until)

    async def dead_letters(self, bus: RunningBus) -> list[str]:
        async with aws_client("sqs") as sqs:
            letters = await SqsQueue(sqs, self.address.dead_letters, wait=0).receive(10)
        return [json.loads(letter.body)["reason"] for letter in letters]

    async def publish_raw(self, bus: RunningBus, body: bytes) -> None:
        await self.publish_text(body.decode(errors="replace"))

    async def publish_text(self, text: str) -> None:
        async with aws_client("sns") as sns:
            await sns.publish(TopicArn=self.address.topic, Message=text, MessageGroupId="churn", MessageDeduplicationId=uuid.uuid4().hex)

    async def test_event_published_while_service_was_away_arrives(self) -> None:
        publisher = self.make()
        async with publisher.running():
            await publisher.publish(resolved(1))
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await wait_until(lambda: bool(handler.seen))
        assert handler.episodes == [1]

    async def test_event_that_always_fails_is_given_up_and_the_next_one_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("driftsonde.core.bus.sns.MAX_DELIVERIES", 2)
        bus, handler = self.make(), Recorder(*(RetryableError("away", retry_after=0.1) for _ in range(2)))
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await bus.publish(resolved(1))
            await bus.publish(resolved(2))
            await wait_until(lambda: 2 in handler.episodes)
            assert await self.dead_letters(bus) == ["max_deliveries"]
        assert handler.episodes == [1, 1, 2]

    async def test_failing_monitor_does_not_hold_up_another(self) -> None:
        bus, handler = self.make(), Recorder(RetryableError("not now", retry_after=3))
        bus.subscribe("one", ["drift.resolved"], handler)
        other = DriftResolved(monitor="fraud", episode=9, kind="drift", cause="recovered")
        async with bus.running():
            await bus.publish(resolved(1))
            await bus.publish(Event.of(other, time=datetime(2026, 1, 1, tzinfo=UTC)))
            await wait_until(lambda: len(handler.seen) == 2)
            assert handler.episodes == [1, 9]

    async def test_event_in_the_envelope_of_sns_is_understood(self) -> None:
        bus, handler = self.make(), Recorder()
        bus.subscribe("one", ["drift.resolved"], handler)
        async with bus.running():
            await self.publish_text(json.dumps({"Type": "Notification", "Message": resolved(1).to_json().decode()}))
            await wait_until(lambda: bool(handler.seen))
        assert handler.episodes == [1]

    async def test_queue_that_is_missing_is_told_and_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("driftsonde.core.bus.sns._PAUSE_SECONDS", 0.1)
        health = Health()
        health.started()
        bus, handler = SnsBus(self.url.replace("{service}", "three"), health=health, wait=1), Recorder()
        bus.subscribe("three", ["drift.resolved"], handler)
        async with bus.running():
            await wait_until(lambda: any("NonExistent" in problem for problem in health.problems()))
            await create_topic(self.address.topic.rpartition(":")[2].removesuffix(".fifo"), ("three",))
            await wait_until(lambda: not health.problems())
            await bus.publish(resolved(1))
            await wait_until(lambda: bool(handler.seen))


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


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sns://driftsonde?queue=https://q.fifo&dead_letters=https://d.fifo", "no ARN of a topic"),
        ("sns://arn:aws:sns:eu-west-1:123456789012:bus.fifo", "queue=''"),
        ("sns://arn:aws:sns:eu-west-1:123456789012:bus.fifo?queue=https://q.fifo", "dead_letters=''"),
        ("sns://arn:aws:sns:eu-west-1:123456789012:bus?queue=https://q.fifo&dead_letters=https://d.fifo", "not FIFO"),
        ("sns://arn:aws:sns:eu-west-1:123456789012:bus.fifo?queue=https://q&dead_letters=https://d.fifo", "not FIFO"),
        ("sns://arn:aws:sns:eu-west-1:123456789012:bus.fifo?queue=https://q.fifo&dead_letters=https://d.fifo&filter=x", "filter"),
    ],
)
def test_address_of_a_topic_that_is_not_whole_is_refused_with_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        connect_bus(url)


def test_address_of_a_topic_is_read_with_its_region() -> None:
    address = SnsAddress.parse(
        "sns://arn:aws:sns:eu-west-1:123456789012:bus.fifo?queue=https://q-{service}.fifo&dead_letters=https://d.fifo"
    )
    assert address == ("arn:aws:sns:eu-west-1:123456789012:bus.fifo", "https://q-{service}.fifo", "https://d.fifo")
    assert address.region == "eu-west-1"


def test_unknown_bus_url_is_refused_without_secrets() -> None:
    with pytest.raises(ConfigError, match="bus_url") as caught:
        connect_bus("amqp://me:hunter2@broker")
    assert "hunter2" not in str(caught.value)
