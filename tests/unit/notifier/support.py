"""A scripted HTTP server, event factories and the notifier wired to fakes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from driftsonde.core.config import Config, parse_config
from driftsonde.core.events import (
    BaselineRef,
    CheckResult,
    DriftDetected,
    DriftResolved,
    DropRef,
    DropRejected,
    Event,
    Fact,
    Shift,
    WindowRef,
)
from driftsonde.core.lifecycle import Health
from driftsonde.core.ports import FIRST, Channel, Delivery, Occasion
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.core.testing.fakes import FakeClock, MemoryBus
from driftsonde.notifier import schema as tables
from driftsonde.notifier.channels.http import HttpPoster, http_client
from driftsonde.notifier.channels.slack import Slack
from driftsonde.notifier.channels.webhook import Webhook
from driftsonde.notifier.deliveries import ChannelQueue, Link
from driftsonde.notifier.grouping import Recorded
from driftsonde.notifier.handlers import Handlers
from driftsonde.notifier.metrics import NotifierMetrics
from driftsonde.notifier.reminders import Reminders
from driftsonde.notifier.rounds import Rounds
from driftsonde.notifier.silences import Silence, Silences
from driftsonde.notifier.store import Store

SECRET = "T00SECRET/B00SECRET/x9SECRETx9"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TRUST = httpx.create_ssl_context()  # once: loading the certificates takes longer than most tests


@dataclass
class Reply:
    """One scripted answer; `delay` in seconds."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Request:
    """What the server got."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


@dataclass
class Server:
    """What a scripted server has got so far and will answer; without a script it answers `ok`."""

    port: int
    replies: deque[Reply] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)

    def url(self, path: str = f"/services/{SECRET}") -> str:
        """Return an address of it."""
        return f"http://127.0.0.1:{self.port}{path}"

    def texts(self) -> list[str]:
        """Return the fallback text of each Slack message."""
        return [request.json()["text"] for request in self.requests]


@contextlib.asynccontextmanager
async def scripted_server(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve HTTP on 127.0.0.1 from a script."""
    served: Server
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        served.requests.append(Request(first.split()[1], headers, body))
        reply = served.replies.popleft() if served.replies else Reply()
        await asyncio.sleep(reply.delay)
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        length = len(reply.body.encode())
        answer = f"HTTP/1.1 {reply.status} Scripted\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n{reply.body}"
        with contextlib.suppress(ConnectionError):
            writer.write(answer.encode())
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    served = Server(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()
        for writer in writers:  # TLS would wait for the other side to close, beyond the end of the loop
            writer.transport.abort()


def check(column: str = "age", label: str = "60-70") -> CheckResult:
    """Return a failing check."""
    return CheckResult(
        column=column, check="ks", score=0.312, threshold=0.1, critical=0.14, p_value=1e-12, n=10_000, baseline_n=50_000,
        interval=(0.28, 0.34), moved=(Shift(label=label, baseline=0.12, window=0.31), Shift(label=label, baseline=0.4, window=0.2)),
    )  # fmt: skip


def detected(
    episode: int = 7, sequence: int = 1, *, columns: Sequence[str] = ("age",), monitor: str = "churn", trainable: bool = True,
    label: str = "60-70", summary: str = "1 of 12 columns has moved.",
) -> DriftDetected:  # fmt: skip
    """Return a detected drift; at most 20 columns have their check in it."""
    return DriftDetected(
        monitor=monitor, episode=episode, sequence=sequence, summary=summary, columns=tuple(columns), trainable=trainable,
        checks=tuple(check(column, label) for column in columns[:20]),
        window=WindowRef(id="2026-01-01", rows=10_000, start=NOON - timedelta(days=1), end=NOON),
        baseline=BaselineRef(version=3, digest="d" * 32, rows=50_000),
    )  # fmt: skip


def resolved(episode: int = 7, sequence: int = 2, *, monitor: str = "churn") -> DriftResolved:
    """Return the end of an episode."""
    return DriftResolved(monitor=monitor, episode=episode, sequence=sequence, kind="drift", cause="recovered")


def rejected(key: str, reason: str = "unreadable") -> DropRejected:
    """Return a drop that could not be read."""
    return DropRejected(monitor="churn", drop=DropRef(bucket="acme", key=key, version="v1"), reason=reason, message="truncated")


def event(fact: Fact) -> Event:
    """Wrap a fact."""
    return Event.of(fact, time=NOON)


def config(channels: Sequence[str] = ("ops",), **rules: Any) -> Config:
    """Return a configuration in which `churn` and `fraud` tell the given Slack channels, each with the same rules."""
    monitors = [
        {"name": name, "drops": f"s3://acme/{name}/in/", "baseline": f"s3://acme/{name}/train/", "notify": list(channels)}
        for name in ("churn", "fraud")
    ]
    return parse_config(
        {"monitors": monitors, "channels": {name: {"type": "slack", "webhook_file": "/run/secrets/slack", **rules} for name in channels}},
        source="test",
    )


class ListChannel:
    """A channel that keeps what it was given and answers from a script; without one it accepts."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.occasions: list[Occasion] = []
        self.answers: deque[Delivery | Exception] = deque()

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Take one event."""
        self.sent.append(event)
        self.occasions.append(occasion)
        answer = self.answers.popleft() if self.answers else Delivery("delivered")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def told(self) -> list[str]:
        """Return what was sent, in short."""
        return [f"{event.data.TYPE} {event.data.episode}" for event in self.sent]


class Rig:
    """Handlers, store and queues on SQLite, a fake clock and a bus in memory.

    Args:
        rules: what every channel has of severity, events, quiet and remind.
    """

    def __init__(
        self,
        path: Path,
        channels: Mapping[str, Channel],
        *,
        address: str = "a",
        clock: FakeClock | None = None,
        url: str = "",
        **rules: Any,
    ) -> None:
        self.config = config(tuple(channels), **rules)
        self.clock = clock or FakeClock(NOON)
        self.database = Database(url or f"sqlite:///{path}/notifier.db")
        self.database.create_all(tables.metadata)
        self.outbox = Outbox(self.database, tables.outbox, tables.inbox, self.clock)
        self.store = Store(self.database, self.outbox, self.clock)
        self.silences, self.reminders = Silences(self.database, self.clock), Reminders(self.database, self.clock)
        self.metrics = NotifierMetrics(channels)
        self.health = Health()
        self.bus = MemoryBus()
        self.outcomes: list[str] = []
        self.woken: list[str] = []
        self.queues = {name: self.queue(name, channel, address) for name, channel in channels.items()}
        Handlers(self.config, self._record, self.woken.extend, self.metrics).register(self.bus)
        self.rounds = Rounds(
            self.config, self.database, self.silences, self.reminders, self.health, self.metrics, self.woken.extend
        )  # fmt: skip

    def queue(self, name: str, channel: Channel, address: str = "a") -> ChannelQueue:
        """Return a queue as one more replica would run it."""
        link = Link(name, channel, SECOND, address, self.config.channels[name].quiet)
        return ChannelQueue(
            link, self.store, self.database, self.clock, self.health, self.metrics, announced=lambda: None, draw=lambda: 0.0
        )  # fmt: skip

    async def _record(self, event: Event, channels: Sequence[str]) -> Recorded:
        recorded = await self.database.run(self.store.record, event, channels)
        self.outcomes.append(recorded.outcome)
        return recorded

    async def tell(self, *facts: Fact, attempt: int = 0) -> None:
        """Publish facts and let the handler have them."""
        for fact in facts:
            await self.bus.publish(event(fact), attempt=attempt)
        await self.bus.drain()

    async def silence(self, length: timedelta, channel: str | None = None, *, monitor: str = "churn") -> Silence:
        """Begin a silence."""
        return await self.database.run(self.silences.begin, monitor, channel, length, "known")

    async def later(self, after: timedelta, name: str = "ops") -> None:
        """Let time pass, go round as the service does, and deliver what is due then."""
        self.clock.advance(after)
        await self.rounds()
        await self.deliver(name, within=5 * SECOND)

    async def deliver(self, name: str = "ops", *, within: timedelta = timedelta(0)) -> None:
        """Work a queue until nothing is due, moving the clock on by at most `within`."""
        end = self.clock.now() + within
        while True:
            wait = await self.queues[name].step()
            if wait == float("inf") or self.clock.now() + timedelta(seconds=wait) > end:
                self.clock.advance(end - self.clock.now())
                return
            self.clock.advance(timedelta(seconds=wait))

    def log(self, channel: str = "ops") -> list[tuple[str, str]]:
        """Return type-less delivery log: (state, detail), oldest first."""
        with self.database.read() as connection:
            query = select(tables.delivery).where(tables.delivery.c.channel == channel).order_by(tables.delivery.c.id)
            return [(row.state, row.detail) for row in connection.execute(query)]

    def announced(self) -> list[Any]:
        """Return the data of the events in the outbox."""
        with self.database.read() as connection:
            rows = connection.execute(select(tables.outbox).order_by(tables.outbox.c.id)).all()
            return [json.loads(row.body)["data"] for row in rows]

    def count(self, metric: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"driftsonde_notifier_{metric}", labels) or 0.0

    def close(self) -> None:
        """Give the database back."""
        self.database.close()


@contextlib.asynccontextmanager
async def http_rig(path: Path, slack: Mapping[str, Server], webhook: Mapping[str, Server] | None = None) -> AsyncIterator[Rig]:
    """Return a rig whose channels are real and post to scripted servers."""
    async with http_client(TRUST) as client:
        clock = FakeClock(NOON)

        def poster(server: Server, name: str) -> HttpPoster:
            return HttpPoster(server.url(), client, clock, key=f"channels.{name}", allow_private=True)

        channels: dict[str, Channel] = {name: Slack(poster(server, name)) for name, server in slack.items()}
        channels |= {name: Webhook(poster(server, name)) for name, server in (webhook or {}).items()}
        rig = Rig(path, channels, clock=clock)
        try:
            yield rig
        finally:
            rig.close()
