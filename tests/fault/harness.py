"""One detector (or several) with queues, a bucket, a bus and a database of its own, and the verifier that looks from outside."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from driftsonde.core.aws.session import aws_client
from driftsonde.core.drops import parse_notification
from driftsonde.core.errors import PoisonError
from driftsonde.core.events import Event, parse_event
from driftsonde.core.local.stack import ACCOUNT, REGION, free_port

from .buses import BusKind, BusUnderTest, make_bus

START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 300
COUNTED = frozenset({"counted", "empty", "too_late"})
IGNORED = frozenset({"gone", "superseded", "retracted", "learned"})


def rows(seed: int, shift: float = 0.0, count: int = ROWS) -> pa.Table:
    """Return rows of a number and a letter."""
    random = np.random.default_rng(seed)
    return pa.table({"x": random.normal(shift, 1.0, count), "plan": random.choice(["free", "pro"], count)})


def parquet(table: pa.Table, **options: Any) -> bytes:
    """Return a table as Parquet."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@dataclass(frozen=True)
class Sent:
    """A drop as it was announced; `rows`: what must be counted of it, where it is Parquet."""

    key: str
    etag: str
    sequencer: str
    at: datetime
    size: int
    rows: int | None = None

    def body(self, bucket: str, **changes: Any) -> str:
        """Return S3's notification of it."""
        item = {"key": quote_plus(self.key), "size": self.size, "eTag": self.etag, "sequencer": self.sequencer}
        record = {
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": self.at.isoformat(), "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket}, "object": item},
        }  # fmt: skip
        return json.dumps({"Records": [{**record, **changes}]})


@dataclass
class Rig:
    """Everything that one test has.

    Args:
        emulator: where the emulator of AWS answers.
        folder: for state and logs.
        database: SQLAlchemy URL of the detector's state.
        monitor: keys of the monitor beside name, drops and baseline.
        environment: more variables of the detector.
        replicas: how many detectors.
        bus_kind: which bus it hangs on.
    """

    emulator: str
    folder: Path
    database: str
    monitor: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    bus_kind: BusKind = "nats"

    def __post_init__(self) -> None:
        self.name = f"f{uuid.uuid4().hex[:10]}"
        self.bucket, self.sent = f"bucket-{self.name}", list[Sent]()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {f"detector{number}": free_port() for number in range(self.replicas)}
        self.bus = make_bus(self.bus_kind, self.emulator, self.folder)
        self._bus_runs = False
        self.engine: Engine = create_engine(make_url(self.database).set(drivername=_driver(self.database)))
        self._letters: list[dict[str, Any]] = []
        self._sequence = 0
        config = {"name": "churn", "drops": f"s3://{self.bucket}/in/", "baseline": f"s3://{self.bucket}/base/", **self.monitor}
        self.config = self.folder / "driftsonde.yaml"
        self.config.write_text(yaml.safe_dump({"monitors": [config]}))
        self._clients = Clients(self.emulator)
        self.aws(self._create)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.bus.close()
        self.engine.dispose()
        self._clients.close()

    # What the detector stands on

    def queue_url(self, kind: str) -> str:
        """Return the URL of `intake` or `letters`."""
        return f"{self.emulator}/{ACCOUNT}/{self.name}-{kind}"

    def aws(self, act: Callable[[Any, Any], Any]) -> Any:
        """Run `act(s3, sqs)` against the emulator itself, past any proxy."""
        return self._clients.run(act)

    async def _create(self, s3: Any, sqs: Any) -> None:
        await s3.create_bucket(Bucket=self.bucket)
        for kind in ("intake", "letters"):
            await sqs.create_queue(QueueName=f"{self.name}-{kind}", Attributes={"VisibilityTimeout": "30"})
        await s3.put_object(Bucket=self.bucket, Key="base/a.parquet", Body=parquet(rows(0, count=4_000)))

    def start_bus(self) -> None:
        """Start the bus; a second start finds what it stored."""
        self.bus.start()
        self._bus_runs = True

    def kill_bus(self) -> None:
        """Take the bus away."""
        self.bus.kill()
        self._bus_runs = False

    def start(self, *, wait: bool = True) -> Rig:
        """Start the bus and every replica of the detector that does not run; wait until they are ready and have a baseline."""
        if not self._bus_runs:
            self.start_bus()
        for name in self.ports:
            if name not in self.processes or self.processes[name].poll() is not None:
                self.launch(name)
        if wait:
            for name in self.ports:
                self.until(lambda name=name: self._ready_or_dead(name), f"{name} ready")  # type: ignore[misc]  # bound now
            self.until(lambda: self.query("select 1 from baseline where state = 'adopted'"), "a baseline")
        return self

    def _ready_or_dead(self, name: str) -> bool:
        """One that is to die may do so before anybody has seen it ready."""
        return self.get(name, "/readyz")[0] == 200 or self.processes[name].poll() is not None

    def launch(self, name: str = "detector0", wrapper: tuple[str, ...] = ("-m", "driftsonde.detector"), **more: str) -> None:
        """Start one detector without waiting; `wrapper`: what Python runs."""
        settings = {
            "AWS_ENDPOINT_URL": self.emulator, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true", "OMP_NUM_THREADS": "1",
            "DRIFTSONDE_CONFIG": str(self.config), "DRIFTSONDE_DATABASE_URL": self.database,
            "DRIFTSONDE_BUS_URL": self.bus.url, "DRIFTSONDE_PORT": str(self.ports[name]),
            "DRIFTSONDE_QUEUE_URL": self.queue_url("intake"), "DRIFTSONDE_DEAD_LETTER_URL": self.queue_url("letters"),
            "DRIFTSONDE_POLL_SECONDS": "1", "DRIFTSONDE_LEASE": "30s", "DRIFTSONDE_PROBATION": "0s", "DRIFTSONDE_REPLICAS": str(self.replicas),
        }  # fmt: skip
        self._spawn(name, [sys.executable, *wrapper], {**settings, **self.bus.environment, **self.environment, **more})

    def _spawn(self, name: str, command: list[str], settings: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT)

    def log(self, name: str = "detector0") -> str:
        """Return what a process has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str = "detector0") -> None:
        """End a process without warning."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def terminate(self, name: str = "detector0", seconds: float = 25.0) -> int:
        """Send SIGTERM; returns the exit code."""
        self.processes[name].terminate()
        return self.processes[name].wait(seconds)

    # What the world does to it

    def put(self, name: str, body: bytes, *, at: datetime | None = None) -> Sent:
        """Store an object, and return its notification, which is not sent."""
        key = f"in/{name}"
        answer = self.aws(lambda s3, _: s3.put_object(Bucket=self.bucket, Key=key, Body=body))
        self._sequence += 1
        at = at or START + timedelta(minutes=self._sequence)
        sent = Sent(key, answer["ETag"].strip('"'), f"{self._sequence:016X}", at, len(body), _rows_in(body))
        self.sent.append(sent)
        return sent

    def delete(self, name: str) -> None:
        """Remove an object."""
        self.aws(lambda s3, _: s3.delete_object(Bucket=self.bucket, Key=f"in/{name}"))

    def send(self, *what: Sent | str) -> None:
        """Put notifications (or any text) into the intake queue."""
        bodies = [item if isinstance(item, str) else item.body(self.bucket) for item in what]
        for begin in range(0, len(bodies), 10):  # as many as a call takes
            self._send([{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies[begin : begin + 10])])

    def _send(self, entries: list[dict[str, str]]) -> None:
        answer = self.aws(lambda _, sqs: sqs.send_message_batch(QueueUrl=self.queue_url("intake"), Entries=entries))
        assert not answer.get("Failed"), answer["Failed"]

    def drop(self, name: str, body: bytes | None = None, *, shift: float = 0.0) -> Sent:
        """Store an object and send its notification."""
        sent = self.put(name, body if body is not None else parquet(rows(len(self.sent) + 1, shift)))
        self.send(sent)
        return sent

    # What can be seen from outside

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return rows_of(self.engine, statement)

    def get(self, name: str, path: str) -> tuple[int, str]:
        """Ask a detector over HTTP; status 0 if it does not answer."""
        return http_get(self.ports[name], path)

    def outcomes(self) -> Counter[str]:
        """Return how many objects have which outcome."""
        return Counter(dict(self.query("select outcome, count(*) from object group by outcome")))

    def verdicts(self) -> dict[str, tuple[str, int]]:
        """Return each window's verdict and rows, by key."""
        prefix = f"s3://{self.bucket}/in/"
        found = self.query('select id, verdict, rows from "window" where verdict is not null')
        return {name.removeprefix(prefix): (word, count) for name, word, count in found}

    def depth(self, kind: str = "intake") -> int:
        """Return how many messages a queue holds, those that are leased included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.aws(lambda _, sqs: sqs.get_queue_attributes(QueueUrl=self.queue_url(kind), AttributeNames=names))
        return sum(int(answer["Attributes"][name]) for name in names)

    def letters(self) -> list[dict[str, Any]]:
        """Return every dead letter so far; they are held, so that each is seen once."""

        async def act(_s3: Any, sqs: Any) -> None:
            url = self.queue_url("letters")
            while got := (await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=3600)).get("Messages"):
                self._letters += [json.loads(message["Body"]) for message in got]

        self.aws(act)
        return self._letters

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait for something; a detector that died meanwhile ends the wait."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not in {seconds:.0f} s\n{self.log()[-3000:]}"
            time.sleep(0.1)

    def settled(self, seconds: float = 60.0) -> None:
        """Wait until nothing waits any more: no message, no window to judge, no event to publish."""
        for what, is_so in self._rest().items():
            self.until(is_so, what, seconds)

    def dead(self) -> bool:
        """Whether the first detector has died."""
        return self.processes["detector0"].poll() is not None

    def at_rest(self) -> bool:
        """Whether nothing waits any more, as `settled`; and all events were heard."""
        return all(is_so() for is_so in self._rest().values()) and self.bus.heard("detector")

    def _rest(self) -> dict[str, Callable[[], bool]]:
        return {
            "an empty queue": lambda: self.depth() == 0,
            "no pending drop": lambda: not {"pending", "damaged"} & self.outcomes().keys(),
            "all windows judged": lambda: self.query("select count(*) from dirty") == [(0,)],
            "all events published": lambda: self.query("select count(*) from outbox where published_at is null") == [(0,)],
        }

    def verify(self, newest: Iterable[Sent] | None = None, *, forgotten: bool = False) -> None:
        """Check what is promised whatever happened: drops sent = counted + ignored + dead-lettered, and each episode is announced once.

        Args:
            newest: the drops that are to be found, if some of those that were put were replaced.
            forgotten: whether the bus has lost what it held.
        """
        expected = {sent.key: sent for sent in (newest if newest is not None else self.sent)}
        known = {key: (outcome, etag) for key, outcome, etag in self.query("select key, outcome, etag from object")}
        letters = {drop for letter in self.letters() for drop in _drops(letter["body"])}
        assert expected.keys() <= known.keys(), f"lost: {sorted(expected.keys() - known.keys())}"
        counted = {key for key, (outcome, _) in known.items() if outcome in COUNTED}
        ignored = {key for key, (outcome, _) in known.items() if outcome in IGNORED}
        dead = {key for key, _ in letters} - counted - ignored
        missing = expected.keys() - counted - ignored - dead
        assert not missing, f"neither counted nor dead-lettered: {sorted(missing)}"
        both = {(key, etag) for key, (outcome, etag) in known.items() if outcome == "counted"} & letters
        assert not both, f"counted and dead-lettered: {sorted(both)}"
        self._verify_parts(expected, {key for key, (outcome, _) in known.items() if outcome == "counted"})
        self._verify_episodes()
        verify_outbox(self.query, self.bus, "detector", forgotten=forgotten)

    def _verify_parts(self, expected: Mapping[str, Sent], counted: set[str]) -> None:
        parts = {
            (key, etag): rows for key, etag, rows in self.query("select key, etag, sum(rows) from part where rows > 0 group by key, etag")
        }
        assert {key for key, _ in parts} == counted, f"parts of nothing that counts: {sorted({key for key, _ in parts} ^ counted)}"
        twice = Counter(key for key, _ in parts) - Counter(counted)
        assert not twice, f"counted twice: {sorted(twice)}"
        found = {key: int(count) for (key, _), count in parts.items()}
        wrong = {key: (found[key], sent.rows) for key, sent in expected.items() if key in found and sent.rows not in (None, found[key])}
        assert not wrong, f"counted twice, or in part: {wrong}"
        merged = self.query(
            'select w.id from "window" w where w.rows != (select coalesce(sum(p.rows), 0) from part p where p.monitor = w.monitor and p."window" = w.id)'
        )
        assert merged == [], f"windows that are not the sum of their parts: {merged}"

    def _verify_episodes(self) -> None:
        wanted: Counter[tuple[str, int, str]] = Counter()
        for monitor, number, kind, is_open in self.query("select monitor, number, kind, is_open from episode"):
            wanted[monitor, number, "drift.detected" if kind == "drift" else "data.untrusted"] += 1
            wanted[monitor, number, "drift.resolved"] += not is_open
        events = [parse_event(body.encode()) for (body,) in self.query("select body from outbox")]
        said = Counter((event.subject, event.data.episode or 0, event.data.TYPE) for event in events if event.data.episode)
        assert said == +wanted, f"episodes and what was said of them: {(+wanted - said) or (said - wanted)}"


def verify_outbox(query: Callable[[str], list[tuple[Any, ...]]], bus: BusUnderTest, service: str, *, forgotten: bool = False) -> None:
    """Check that the bus has all that is noted as published, nothing else, and one id for each fact.

    Args:
        query: asks the service's database.
        forgotten: whether the bus has lost what it held.
    """
    published = {event_id for (event_id,) in query("select event_id from outbox where published_at is not null")}
    heard = [event for event in bus.events() if event.source.endswith(f"/{service}")]
    stored = {event_id for (event_id,) in query("select event_id from outbox")}
    twice = {event.id for event in heard} - stored
    assert not twice, f"announced under ids that nobody stored: {[event.type for event in heard if event.id in twice]}"
    made_up = [event.type for event in heard if event.id != Event.of(event.data, time=event.time).id]
    assert not made_up, f"ids that do not follow from what happened: {made_up}"
    assert forgotten or published <= {event.id for event in heard}, (
        f"noted as published, and not on the bus: {published - {event.id for event in heard}}"
    )


def rows_of(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    """Ask a database."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def http_get(port: int, path: str) -> tuple[int, str]:
    """Ask a process over HTTP; status 0 if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


class Clients:
    """Clients of the emulator, on an event loop in a thread: making them takes longer than most of what they are used for."""

    def __init__(self, endpoint: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        variables = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
        with patch.dict(os.environ, variables):
            self._s3, self._sqs = self._wait(self._open())

    async def _open(self) -> list[Any]:
        return [await self._stack.enter_async_context(aws_client(name, read_timeout=120)) for name in ("s3", "sqs")]

    def run(self, act: Callable[[Any, Any], Coroutine[Any, Any, Any]]) -> Any:
        """Run `act(s3, sqs)`."""
        return self._wait(act(self._s3, self._sqs))

    def close(self) -> None:
        """Close them."""
        self._wait(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(180)


def _drops(body: str) -> list[tuple[str, str | None]]:
    try:
        return [(drop.key, drop.etag) for drop in parse_notification(body).drops]
    except PoisonError:
        return []


def _rows_in(body: bytes) -> int | None:
    try:
        return int(pq.read_metadata(io.BytesIO(body)).num_rows)
    except pa.ArrowException:
        return None


def _driver(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql+psycopg"
