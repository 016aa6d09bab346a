"""A detector wired to a fake clock, buckets and bus in memory, and a real database."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.config import Config, Monitor, parse_config
from driftsonde.core.drops import Drop
from driftsonde.core.events import DropRef, Event, ModelPromoted, Scores
from driftsonde.core.lifecycle import Health
from driftsonde.core.readers import Limits
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox, Relay
from driftsonde.core.testing.fakes import FakeClock, MemoryBus
from driftsonde.core.testing.objects import MemoryObjects
from driftsonde.core.testing.queue import MemoryQueue
from driftsonde.detector import store
from driftsonde.detector.attempts import Attempts
from driftsonde.detector.baselines import Baselines
from driftsonde.detector.builder import Builder
from driftsonde.detector.evaluate import Evaluate, Evaluated
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.intake import Intake
from driftsonde.detector.judge import Judge
from driftsonde.detector.ledger import Ledger
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.pending import Pending
from driftsonde.detector.timeline import TYPES, Timeline

BUCKET = "acme"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BY_TIME = {"by": "time", "column": "ts", "size": "1h", "lateness": "30d", "idle": "2h"}
GARBAGE = b"PAR1 and then nothing that could be read"


def rows(count: int, shift: float = 0.0, seed: int = 0, **columns: Any) -> pa.Table:
    """Return rows of a number `x` around `shift`, and a letter `c`."""
    random = np.random.default_rng(seed)
    return pa.table({"x": random.normal(shift, 1.0, count), "c": random.choice(["a", "b"], count), **columns})


def parquet(table: pa.Table) -> bytes:
    """Return a table as Parquet."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@cache
def drop_body(count: int = 200, shift: float = 0.0, seed: int = 0) -> bytes:
    """Return a drop of `rows`."""
    return parquet(rows(count, shift, seed))


def timed(times: Sequence[datetime | None], shift: float = 0.0, seed: int = 0) -> bytes:
    """Return a drop with a row for each time in its column `ts`."""
    return parquet(rows(len(times), shift, seed, ts=pa.array(times, pa.timestamp("us", "UTC"))))


@cache
def baseline_body(seed: int = 9, shift: float = 0.0, raised: float = 0.0) -> bytes:
    """Return a frozen baseline of 4,000 rows, as `driftsonde baseline build` writes it; `raised`: a back-tested threshold of `x`."""
    table = rows(4000, shift, seed)
    frozen, _ = build(table.to_batches, BuildOptions(bins=32))
    if raised:
        frozen.by_name["x"].thresholds.update(distance=raised, psi=10 * raised)
    return frozen.data


def config(monitors: int = 1, **changes: Any) -> Config:
    """Return a configuration of one monitor `churn` (or more); `changes` are keys of each."""
    changes = {"policy": {"lookback": 4, "clear_after": 2}, **changes}
    return parse_config(
        {
            "monitors": [
                {"name": name, "drops": f"s3://{BUCKET}/in/", "baseline": f"s3://{BUCKET}/base/", **changes}
                for name in ("churn", "fraud")[:monitors]
            ],
            "recipes": {"any": {"role": "arn:aws:iam::123456789012:role/jobs", "output": f"s3://{BUCKET}/out/"}},
        },
        source="test",
    )


class Rig:
    """One detector without its loops: each step is called by the test."""

    def __init__(
        self, url: str, parsed: Config | None = None, *, objects: MemoryObjects | None = None, clock: FakeClock | None = None
    ) -> None:
        self.url, self.config = url, parsed or config()
        self.clock = clock or FakeClock(NOON)
        self.objects = objects or MemoryObjects(self.clock)
        self.database = Database(url)
        self.database.create_all(store.metadata)  # the same tables as the migrations make, sooner
        self.outbox = Outbox(self.database, store.outbox, store.inbox, self.clock)
        self.metrics, self.health = DetectorMetrics(), Health()
        self.queue, self.bus = MemoryQueue(), MemoryBus()
        self.ledger = Ledger(self.database, self.outbox, self.clock)
        attempts = Attempts(self.database, self.clock)
        self.ingest = Ingest(
            self.database, self.ledger, self.objects, Baselines(self.database), attempts, self.metrics, self.clock, Limits()
        )
        self.intake = Intake(
            self.config.monitors, self.ingest, self.queue.dead_letter, self.metrics, slots=4, changed=lambda: None, put_off=lambda: None
        )
        self.pending = Pending(
            self.database, self.config, self.ingest, self.queue.dead_letter, self.metrics, self.clock, slots=4, changed=lambda: None
        )
        self.builder = Builder(self.database, self.outbox, self.objects, self.config, self.metrics, self.clock, self.health, Limits())
        self.evaluate = Evaluate(self.database, self.outbox, self.clock)
        self.judge = Judge(self.database, self.evaluate, self.ledger, self.config, self.metrics, self.clock)
        self.timeline = Timeline(self.database, self.builder)
        self.bus.subscribe("detector", TYPES, self.timeline.handle)
        self.relay = Relay(
            self.outbox, self.bus, self.clock, self.health, current=lambda connection: store.announced(connection, self.clock.now() - 2 * HOUR), republish_every=HOUR,
            metrics=self.metrics.outbox,
        )  # fmt: skip
        self._sequence = 0
        self._replicas: list[Rig] = []

    def replica(self) -> Rig:
        """Return one more detector over the same database, buckets and clock."""
        self._replicas.append(Rig(self.url, self.config, objects=self.objects, clock=self.clock))
        return self._replicas[-1]

    def close(self) -> None:
        """Give the connections back, the replicas' too."""
        for rig in (self, *self._replicas):
            rig.database.close()

    @property
    def monitor(self) -> Monitor:
        """The first monitor."""
        return self.config.monitors[0]

    async def adopt(self, body: bytes | None = None) -> Rig:
        """Build the configured baseline; returns the rig."""
        self.objects.put(BUCKET, "base/frozen.dsk", body or baseline_body())
        await self.database.run(self.builder._request_configured)
        while await self.builder.build_one():
            pass
        return self

    async def promote(self, body: bytes, key: str = "train/next.dsk", *, model: str = "m2") -> None:
        """Tell the detector of a new champion that was trained on `body`, and build its baseline."""
        info = self.objects.put(BUCKET, key, body)
        await self.announce(model, key, info.etag)
        while await self.builder.build_one():
            pass

    async def announce(self, model: str, key: str, etag: str, monitor: str = "churn") -> str:
        """Deliver `model.promoted`."""
        fact = ModelPromoted(
            monitor=monitor, episode=int(model[1:]), plan=f"plan-{model}", model=model, package="arn", model_data="s3://acme/model.tar.gz",
            scores=Scores(metric="auc", direction="max", challenger=0.9, rows=500), drops=(DropRef(bucket=BUCKET, key=key, etag=etag),),
        )  # fmt: skip
        return await self.timeline.handle(Event.of(fact, time=self.clock.now()))

    def put(self, key: str, body: bytes, *, at: datetime | None = None) -> Drop:
        """Put an object at a time (default: a minute after the last) and return its event."""
        info = self.objects.put(BUCKET, key, body)
        return self.event(key, at=at, size=info.size, etag=info.etag, version=info.version)

    def remove(self, key: str, *, at: datetime | None = None) -> Drop:
        """Delete an object and return its event."""
        self.objects.delete(BUCKET, key)
        return self.event(key, kind="removed", at=at)

    def event(self, key: str, *, kind: Any = "created", at: datetime | None = None, **fields: Any) -> Drop:
        """Return an event whose sequencer is higher than all before."""
        self._sequence += 1
        at = at or NOON + timedelta(minutes=self._sequence)
        return Drop(kind, BUCKET, key, at, sequencer=f"{self._sequence:016X}", **fields)

    async def take(self, *drops: Drop) -> list[str]:
        """Ingest drops for the first monitor; returns their outcomes, for an unreadable one its reason."""
        outcomes = []
        for drop in drops:
            try:
                outcomes.append(await self.ingest.drop(self.monitor, drop))
            except Exception as exc:
                outcomes.append(str(getattr(exc, "reason", exc)))
        return outcomes

    async def evaluated(self) -> Evaluated:
        """Run the evaluate transaction."""
        return await self.database.run(self.evaluate, self.monitor)

    async def say(self) -> list[Event]:
        """Publish what waits, let the timeline hear it, and return all that was published."""
        while await self.relay.publish_once():
            pass
        await self.bus.drain()
        return self.bus.published

    def select(self, name: str) -> list[Mapping[str, Any]]:
        """Return a table's rows."""
        table = store.metadata.tables[name]
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]

    def facts(self, name: str) -> list[Any]:
        """Return the data of the events of a type, in the order in which they were stored."""
        found = [json.loads(row["body"]) for row in sorted(self.select("outbox"), key=lambda row: row["id"])]
        return [event["data"] for event in found if event["type"].endswith(name)]

    def verdicts(self) -> dict[str, str | None]:
        """Return the verdict of each window, in window order, by the end of its name."""
        found = sorted((row for row in self.select("window") if row["baseline"]), key=lambda row: (row["baseline"], row["position"]))
        return {row["id"].removeprefix(f"s3://{BUCKET}/in/"): row["verdict"] for row in found}

    def parts(self) -> dict[tuple[str, str], bytes]:
        """Return the bytes of each part by window and key."""
        return {(row["window"], row["key"]): row["sketch"] for row in self.select("part")}

    def objects_known(self) -> dict[str, str]:
        """Return the outcome of each object by key."""
        return {row["key"]: row["outcome"] for row in self.select("object")}

    def episodes(self) -> list[tuple[int, str, str, str | None]]:
        """Return (number, kind, opening window, cause of the end) of each episode."""
        return [
            (row["number"], row["kind"], row["opened"].removeprefix(f"s3://{BUCKET}/in/"), row["cause"]) for row in self.select("episode")
        ]

    def counted(self, metric: str, **labels: str) -> float:
        """Return a metric's value."""
        value = self.metrics.registry.get_sample_value(f"driftsonde_detector_{metric}", labels)
        assert value is not None, f"there is no series {metric} {labels}"
        return value

    def outcomes(self) -> dict[str, float]:
        """Return the counts of drops by outcome that are not zero."""
        family = next(family for family in self.metrics.registry.collect() if family.name == "driftsonde_detector_drops")
        return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}


def message(*drops: Drop) -> str:
    """Return an S3 notification of several drops."""
    records = []
    for drop in drops:
        item = {"key": quote_plus(drop.key), "size": drop.size, "eTag": drop.etag, "versionId": drop.version, "sequencer": drop.sequencer}
        name = {"created": "ObjectCreated:Put", "removed": "ObjectRemoved:Delete", "other": "ObjectRestore:Post"}[drop.kind]
        s3 = {"bucket": {"name": drop.bucket}, "object": {field: value for field, value in item.items() if value is not None}}
        records.append({"eventVersion": "2.1", "eventName": name, "eventTime": drop.event_time.isoformat(), "s3": s3})
    return json.dumps({"Records": records})
