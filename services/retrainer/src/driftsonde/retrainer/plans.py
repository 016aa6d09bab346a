"""How a plan moves: each move, the facts it announces and the jobs it asks for are one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from driftsonde.core.config import Config, Monitor, Recipe
from driftsonde.core.events import DriftDetected, PlanAccepted, PlanFact, PlanRefused, PlanWaiting, parse_event
from driftsonde.core.names import job_name
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.retrainer import store
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.planner import EXPLANATIONS, LATER, Proceed, Reason, Refuse, Situation, Wait, decide

KIND = {"prepare": "processing", "train": "training", "evaluate": "processing", "transform": "transform"}
STEP = {"preparing": "prepare", "training": "train", "evaluating": "evaluate", "transforming": "transform"}

MakeFact = Callable[..., PlanFact]


class Outrun(Exception):
    """Another replica has moved the plan meanwhile; look again."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan with the configuration that it follows and the event that caused it."""

    row: Row[Any]
    monitor: Monitor
    recipe: Recipe
    drift: DriftDetected
    owners: Mapping[str, str]


class Plans:
    """Reads and moves plans."""

    def __init__(
        self, database: Database, outbox: Outbox, config: Config, clock: Clock, metrics: RetrainerMetrics, deployment: str, uuid: str
    ) -> None:
        self._database, self._outbox, self._config, self._clock, self._metrics = database, outbox, config, clock, metrics
        self._deployment, self._uuid = deployment, uuid

    def view(self, row: Row[Any]) -> PlanView | None:
        """Return a plan as the steps need it; None when its monitor or recipe is no longer configured."""
        monitor = self._config.monitor(row.monitor)
        recipe = self._config.recipes.get(monitor.retrain.recipe) if monitor and monitor.retrain else None
        drift = parse_event(row.event.encode()).data
        if monitor is None or recipe is None or not isinstance(drift, DriftDetected):
            return None
        return PlanView(row, monitor, recipe, drift, self._config.bucket_owners)

    def identity(self, plan: PlanView, step: str, attempt: int) -> tuple[object, ...]:
        """Return what makes a job one of its kind; its name is derived from it and its tag holds it."""
        return (self._deployment, self._uuid, plan.row.monitor, plan.row.episode, step, attempt)

    def name(self, plan: PlanView, step: str, attempt: int) -> str:
        """Return a job's name, the same on every replica and after every restart."""
        return job_name(plan.row.monitor, step, *self.identity(plan, step, attempt))

    def decide(self, connection: Connection, row: Row[Any]) -> None:
        """Decide about a plan that has not begun; budget and plan change in one transaction, under one lock for all monitors."""
        self._database.lock(connection, "budget")
        fresh = store.plan_row(connection, row.id)
        if fresh is None or fresh.state not in store.UNDECIDED:
            return
        monitor, now = self._config.monitor(row.monitor), self._clock.now()
        policy = monitor.retrain if monitor else None
        decision = decide(policy, self._config.budget, self._situation(connection, fresh, now), now)
        match decision:
            case Proceed():
                connection.execute(store.budget.insert().values(plan=row.id, monitor=row.monitor, at=now))
                self.move(connection, fresh, "preparing", PlanAccepted, reason="")
                self._metrics.plans.labels("accepted").inc()
            case Wait(reason, until):
                self.wait(connection, fresh, reason, until)
            case Refuse(reason):
                self.move(connection, fresh, "refused", PlanRefused, reason=EXPLANATIONS[reason])
                self._metrics.plans.labels("refused").inc()
                self._metrics.refusals.labels(reason).inc()

    def _situation(self, connection: Connection, row: Row[Any], now: datetime) -> Situation:
        drift = parse_event(row.event.encode()).data
        assert isinstance(drift, DriftDetected)  # only such events make plans
        ended, broken = store.episode_end, store.untrusted
        over = select(ended.c.episode).where(ended.c.monitor == row.monitor, ended.c.episode == row.episode)
        bad = select(broken.c.episode).where(broken.c.monitor == row.monitor)
        busy = select(store.plan.c.id).where(store.plan.c.monitor == row.monitor, store.plan.c.state.in_(store.ACTIVE))
        return Situation(
            trainable=drift.trainable,
            episode_open=connection.scalar(over) is None,
            untrusted=connection.scalar(bad) is not None,
            in_flight=connection.scalar(busy) is not None,
            last_training=store.last_training(connection, row.monitor),
            trainings=store.trainings_since(connection, now - store.DAY, row.monitor),
            all_trainings=store.trainings_since(connection, now - store.DAY),
        )

    def wait(self, connection: Connection, row: Row[Any], reason: Reason, until: datetime) -> None:
        """Park a plan that has not begun, or has to begin again; says so once for each reason."""
        if row.state == "waiting" and row.reason == reason:
            connection.execute(store.plan.update().where(store.plan.c.id == row.id).values(until=until))
            return
        self.move(connection, row, "waiting", PlanWaiting, reason=EXPLANATIONS[reason], until=until)
        connection.execute(store.plan.update().where(store.plan.c.id == row.id).values(reason=reason, until=until))
        self._metrics.plans.labels("waiting").inc()
        self._metrics.refusals.labels(reason).inc()

    def park(self, connection: Connection, row: Row[Any], until: datetime) -> None:
        """Leave a plan in its state until the quota may allow its job."""
        self.count_on(connection, row, until=until)
        self.say(connection, row, PlanWaiting, row.sequence + 1, reason=EXPLANATIONS["quota"], until=until)
        self._metrics.refusals.labels("quota").inc()

    def wait_for_labels(self, connection: Connection, row: Row[Any]) -> None:
        """Give the budget back and begin again later: nothing was trained."""
        connection.execute(store.budget.delete().where(store.budget.c.plan == row.id))
        connection.execute(store.job.delete().where(store.job.c.plan == row.id, store.job.c.state != "succeeded"))
        self.wait(connection, row, "missing_labels", self._clock.now() + LATER)

    def move(self, connection: Connection, row: Row[Any], to: str, fact: MakeFact | None = None, /, **fields: Any) -> None:
        """Change a plan's state, ask for the first job of the new state, and announce one fact.

        Raises:
            Outrun: as `count_on`.
        """
        self.count_on(connection, row, state=to, updated_at=self._clock.now(), until=None, reason=str(fields.get("reason", "")))
        if to in STEP:
            self.add_job(connection, row, STEP[to])
        if fact is not None:
            self.say(connection, row, fact, row.sequence + 1, **fields)

    @staticmethod
    def count_on(connection: Connection, row: Row[Any], **values: Any) -> None:
        """Change a plan and its sequence, if it is still as it was read.

        Raises:
            Outrun: if another replica was faster; the transaction that this is part of must not happen.
        """
        table = store.plan
        same = and_(table.c.id == row.id, table.c.state == row.state, table.c.sequence == row.sequence)
        if connection.execute(table.update().where(same).values(**values, sequence=row.sequence + 1)).rowcount != 1:
            raise Outrun(row.id)

    def say(self, connection: Connection, row: Row[Any], fact: MakeFact, sequence: int, **fields: Any) -> None:
        """Announce a fact of a plan; it becomes the one that is published again while the plan is open."""
        said = fact(monitor=row.monitor, episode=row.episode, sequence=sequence, plan=row.id, **fields)
        (event_id,) = self._outbox.add(connection, [said])
        connection.execute(store.plan.update().where(store.plan.c.id == row.id).values(event_id=event_id, sequence=sequence))

    def add_job(self, connection: Connection, row: Row[Any], step: str) -> None:
        """Ask for the next attempt of a step."""
        plan = self.view(row)
        before = store.newest_job(connection, row.id, step)
        if plan is None:
            return
        attempt = before.attempt + 1 if before is not None else 1
        connection.execute(
            store.job.insert().values(
                name=self.name(plan, step, attempt), plan=row.id, kind=KIND[step], step=step, attempt=attempt, state="wanted", detail="",
                created_at=self._clock.now(),
            )
        )  # fmt: skip

    def mark(self, connection: Connection, name: str, state: str, detail: str = "", seconds: float | None = None) -> None:
        """Note what became of a job."""
        table = store.job
        since = {"created_at": self._clock.now()} if state == "created" else {}
        connection.execute(table.update().where(table.c.name == name).values(state=state, detail=detail[:4000], seconds=seconds, **since))

    def promote(self, connection: Connection, row: Row[Any], values: dict[str, Any], state: str, fact: MakeFact, **fields: Any) -> None:
        """Crown a new champion."""
        table = store.model
        connection.execute(table.update().where(table.c.monitor == row.monitor, table.c.state == "champion").values(state="retired"))
        connection.execute(
            self._database.upsert(
                table, {**values, "monitor": row.monitor, "plan": row.id, "state": "champion", "created_at": self._clock.now()},
                key=("name",), update=("state",),
            )
        )  # fmt: skip
        self.move(connection, row, state, fact, **fields)
        self._metrics.plans.labels("promoted").inc()


def succeeded(connection: Connection, plan_id: str, step: str) -> tuple[int, dict[str, Any]]:
    """Return the attempt of a step that succeeded, and what was noted of it.

    Raises:
        LookupError: if none did, which the order of states makes impossible.
    """
    table = store.job
    row = connection.execute(
        select(table).where(table.c.plan == plan_id, table.c.step == step, table.c.state == "succeeded").order_by(table.c.attempt.desc())
    ).first()
    if row is None:
        raise LookupError(f"no {step} job of {plan_id} succeeded")
    return row.attempt, json.loads(row.detail or "{}")
