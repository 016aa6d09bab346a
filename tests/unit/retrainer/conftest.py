"""A retrainer without a network: real decisions, real SQLite, SageMaker and S3 in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from driftsonde.core.config import Config, parse_config
from driftsonde.core.events import (
    BaselineRef,
    DataUntrusted,
    DecisionRecorded,
    DriftDetected,
    DriftResolved,
    DropRef,
    Event,
    Fact,
    PlanFact,
    WindowRef,
    parse_event,
)
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.core.testing.endpoints import FakeEndpoints
from driftsonde.core.testing.executions import FakeExecutions
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.core.testing.jobs import FakeTrainingJobs
from driftsonde.core.testing.objects import MemoryObjects
from driftsonde.retrainer import store
from driftsonde.retrainer.gauges import Gauges
from driftsonde.retrainer.handlers import Handlers
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans
from driftsonde.retrainer.watcher import Watcher

DROPS = tuple(DropRef(bucket="acme", key=f"in/{n}.parquet", etag=f"e{n}", rows=1000) for n in range(4))


def make_config(monitors: int = 1, *, budget: int = 10, **retrain: Any) -> Config:
    return parse_config(
        {
            "monitors": [
                {
                    "name": f"churn-{n}",
                    "drops": f"s3://acme/in-{n}/",
                    "baseline": "s3://acme/base/",
                    "columns": {"label": "churned"},
                    "retrain": {"recipe": "xgb", **retrain},
                }
                for n in range(monitors)
            ],
            "recipes": {
                "xgb": {"role": "arn:aws:iam::123456789012:role/jobs", "output": "s3://acme/out/", "training": {"image": "xgboost:1"}}
            },
            "budget": {"training_jobs_per_day": budget},
        },
        source="test",
    )


def drift(episode: int = 1, monitor: str = "churn-0", *, trainable: bool = True) -> DriftDetected:
    return DriftDetected(
        monitor=monitor, episode=episode, window=WindowRef(id="w", rows=1000), baseline=BaselineRef(version=1, digest="b", rows=5000),
        summary="x moved", columns=("x",), checks=(), drops=DROPS, trainable=trainable,
    )  # fmt: skip


class Retrainer:
    """What the tests drive: hear events, go round, finish jobs."""

    def __init__(self, database: Database, config: Config) -> None:
        self.clock, self.jobs, self.objects, self.database = FakeClock(), FakeTrainingJobs(), MemoryObjects(), database
        self.endpoints, self.executions = FakeEndpoints(self.jobs), FakeExecutions()
        self.config = config
        self.restart()

    def restart(self) -> None:
        """Forget everything that is not stored."""
        outbox = Outbox(self.database, store.outbox, store.inbox, self.clock)
        self.metrics = metrics = RetrainerMetrics(self.config.budget.currency)
        self.gauges = Gauges(self.database, self.config, metrics, self.clock)
        plans = Plans(self.database, outbox, self.config, self.clock, metrics, "test", "uuid")
        self.handlers = Handlers(self.database, outbox, self.clock, lambda: None)
        self.watcher = Watcher(
            self.database, plans, self.jobs, self.endpoints, self.objects, self.clock, metrics, image=lambda: "default",
            executions={"pipeline": self.executions, "state-machine": self.executions},
        )  # fmt: skip

    async def hear(self, fact: Fact) -> str:
        return await self.handlers.handle(Event.of(fact, time=self.clock.now()))

    async def shown(self, metric: str, /, **labels: str) -> float | None:
        """Read the store as the service does, and return a metric's value; None if there is no such series."""
        await self.gauges.refresh()
        return self.metrics.registry.get_sample_value(f"driftsonde_retrainer_{metric}", labels)

    async def rounds(self) -> None:
        while await self.watcher.round():
            pass

    def plans(self) -> dict[str, str]:
        with self.database.read() as connection:
            return {row.id: row.state for row in connection.execute(select(store.plan))}

    def said(self) -> list[Fact]:
        with self.database.read() as connection:
            return [parse_event(row.body.encode()).data for row in connection.execute(select(store.outbox).order_by(store.outbox.c.id))]

    def types(self) -> list[str]:
        """What was said of plans; decision records are beside that."""
        return [fact.TYPE for fact in self.said() if isinstance(fact, PlanFact)]

    def decisions(self) -> list[DecisionRecorded]:
        return [fact for fact in self.said() if isinstance(fact, DecisionRecorded)]

    async def finish(self, step: str, *, monitor: str = "churn-0", episode: int = 1, **result: Any) -> None:
        """End the newest job of a step, with what it would have written."""
        name = [name for name in self.jobs.names(step) if monitor in name][-1]
        base = f"out/{monitor}/episode-{episode}"
        with self.database.read() as connection:
            attempt = connection.scalar(select(store.job.c.attempt).where(store.job.c.name == name))
        if step == "prepare":
            summary = {"train": 700, "validation": 100, "holdout": 200, "score": 50, "unlabelled": 0, **result}
            await self.objects.write("acme", f"{base}/prepared-{attempt}/meta/summary.json", json.dumps(summary).encode())
            await self.objects.write("acme", f"{base}/prepared-{attempt}/meta/encoding.json", b'{"features": ["x"], "levels": {}}')
        if step == "evaluate":
            metrics = {"challenger": 0.9, "champion": 0.8, "rows": 200, **result}
            await self.objects.write("acme", f"{base}/evaluated-{attempt}/metrics.json", json.dumps(metrics).encode())
        self.jobs.finish(name, metrics={"validation:auc": 0.9} if step == "train" else None)
        await self.rounds()

    async def whole_plan(self, monitor: str = "churn-0", episode: int = 1) -> None:
        for step in ("prepare", "train", "evaluate", "transform"):
            await self.finish(step, monitor=monitor, episode=episode)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'retrainer.sqlite'}")
    database.create_all(store.metadata)
    yield database
    database.close()


@pytest.fixture
def retrainer(database: Database) -> Retrainer:
    return Retrainer(database, make_config())


@pytest.fixture
def new_retrainer(database: Database) -> Any:
    return lambda *monitors, **policy: Retrainer(database, make_config(*monitors, **policy))


@pytest.fixture
def facts() -> Any:
    """The makers of facts, for tests in other modules."""
    return _Facts


class _Facts:
    drift = staticmethod(drift)
    later = timedelta(hours=25)

    @staticmethod
    def untrusted(episode: int = 9, monitor: str = "churn-0") -> DataUntrusted:
        detected = drift(episode, monitor)
        return DataUntrusted(**detected.model_dump(exclude={"drops", "trainable"}))

    @staticmethod
    def resolved(episode: int = 1, monitor: str = "churn-0", kind: str = "drift") -> DriftResolved:
        return DriftResolved(monitor=monitor, episode=episode, sequence=2, kind=kind, cause="recovered")
