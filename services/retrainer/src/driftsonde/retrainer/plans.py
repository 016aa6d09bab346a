"""How a plan moves: each move, the facts it announces and the jobs it asks for are one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from driftsonde.core import tracing
from driftsonde.core.config import Config, Monitor, PipelineRun, Recipe
from driftsonde.core.events import (
    ApprovalRequested,
    DecisionRecorded,
    DriftDetected,
    PlanAccepted,
    PlanFact,
    PlanRefused,
    PlanWaiting,
    parse_event,
)
from driftsonde.core.names import job_name, tuning_name
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.retrainer import store
from driftsonde.retrainer.decision import answer_of, record, why
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.planner import EXPLANATIONS, LATER, Decision, Proceed, Reason, Refuse, Wait, decide
from driftsonde.retrainer.requests import identity_tags
from driftsonde.retrainer.situation import Known, look

KIND = {"prepare": "processing", "train": "training", "evaluate": "processing", "transform": "transform"}
STEP = {"preparing": "prepare", "training": "train", "evaluating": "evaluate", "transforming": "transform", "executing": "execute"}

_DETAIL = 20_000  # characters

MakeFact = Callable[..., PlanFact]


def kind_of(recipe: Recipe, step: str) -> str:
    """Return the kind of job that does a step; `execute` is whatever the recipe's `run` starts."""
    if step == "execute":
        return "pipeline" if isinstance(recipe.run, PipelineRun) else "state-machine"
    return "tuning" if step == "train" and recipe.training.tune is not None else KIND[step]


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
        self, database: Database, outbox: Outbox, config: Config, clock: Clock, metrics: RetrainerMetrics, deployment: str, uuid: str,
        link: Callable[[str, int, datetime], str | None] = lambda monitor, episode, until: None,
    ) -> None:  # fmt: skip
        self._database, self._outbox, self._config, self._clock, self._metrics = database, outbox, config, clock, metrics
        self._deployment, self._uuid, self._link = deployment, uuid, link
        self.budget = config.budget

    def view(self, row: Row[Any]) -> PlanView | None:
        """Return a plan as the steps need it; None when its monitor or recipe is no longer configured."""
        monitor = self._config.monitor(row.monitor)
        recipe = self._config.recipes.get(monitor.retrain.recipe) if monitor and monitor.retrain else None
        drift = parse_event(row.event.encode()).data
        if monitor is None or recipe is None or not isinstance(drift, DriftDetected):
            return None
        return PlanView(row, monitor, recipe, drift, self._config.bucket_owners)

    def tags(self, plan: PlanView, step: str, attempt: int, request: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the tags of what a step creates; of the stored plan and nothing else, so that a repeat has the same."""
        trace = trace_of(plan.row.event)
        return identity_tags(
            self.identity(plan, step, attempt), request, {**plan.recipe.tags, **({"driftsonde:trace": trace} if trace else {})}
        )

    def identity(self, plan: PlanView, step: str, attempt: int) -> tuple[object, ...]:
        """Return what makes a job one of its kind; its name is derived from it and its tag holds it."""
        return (self._deployment, self._uuid, plan.row.monitor, plan.row.episode, step, attempt)

    def name(self, plan: PlanView, step: str, attempt: int) -> str:
        """Return a job's name, the same on every replica and after every restart."""
        identity = self.identity(plan, step, attempt)
        if step in KIND and kind_of(plan.recipe, step) == "tuning":
            return tuning_name(plan.row.monitor, *identity)
        return job_name(plan.row.monitor, step, *identity)

    def decide(self, connection: Connection, row: Row[Any]) -> None:
        """Decide about a plan that has not begun; budget and plan change in one transaction, under one lock for all monitors."""
        self._database.lock(connection, "budget")
        fresh = store.plan_row(connection, row.id)
        if fresh is None or fresh.state not in store.UNDECIDED:
            return
        monitor, now = self._config.monitor(row.monitor), self._clock.now()
        known = look(connection, self._config, fresh, now)
        decision = decide(monitor.retrain if monitor else None, self._config.budget, known.situation, now)
        self._record(connection, fresh, decision, known)
        match decision:
            case Proceed():
                connection.execute(store.budget.insert().values(plan=row.id, monitor=row.monitor, at=now))
                self.move(connection, fresh, self._first_state(monitor), PlanAccepted, reason="")
                self._metrics.plans.labels("accepted").inc()
            case Wait("approval", until) if known.situation.approval == "none":
                self._ask(connection, fresh, until, known)
            case Wait(reason, until):
                self.wait(connection, fresh, reason, until)
            case Refuse(reason):
                self.move(connection, fresh, "refused", PlanRefused, reason=why(reason, known.drift.problems))
                self._metrics.plans.labels("refused").inc()
                self._metrics.refusals.labels(reason).inc()

    def _first_state(self, monitor: Monitor | None) -> str:
        recipe = self._config.recipes.get(monitor.retrain.recipe) if monitor and monitor.retrain else None
        return "executing" if recipe is not None and recipe.run is not None else "preparing"

    def _record(self, connection: Connection, row: Row[Any], decision: Decision, known: Known) -> None:
        """Write down what is decided, and why; the same again is not news."""
        table, (answer, reason) = store.decision, answer_of(decision)
        here = (table.c.monitor == row.monitor, table.c.episode == row.episode)
        before = connection.execute(select(table.c.revision, table.c.answer, table.c.reason).where(*here)).first()
        if before is not None and (before.answer, before.reason) == (answer, reason):
            return
        fact = record(
            self._config.monitor(row.monitor), known.drift, decision, known.situation, self._config.budget,
            importances=known.importances, cost=known.cost, revision=before.revision + 1 if before else 1,
            executes=self._first_state(self._config.monitor(row.monitor)) == "executing",
        )  # fmt: skip
        note_decision(self._database, self._outbox, connection, fact, self._clock.now(), trace_of(row.event))
        self._metrics.decisions.labels(answer).inc()

    def _ask(self, connection: Connection, row: Row[Any], until: datetime, known: Known) -> None:
        """Put the question to people, once."""
        values = {"monitor": row.monitor, "episode": row.episode, "state": "asked", "until": until, "at": self._clock.now(), "by": ""}
        connection.execute(store.approval.insert().values(**values))
        link = self._link(row.monitor, row.episode, until)
        self._wait(connection, row, "approval", until, ApprovalRequested, cost=known.cost, link=link)

    def wait(self, connection: Connection, row: Row[Any], reason: Reason, until: datetime) -> None:
        """Park a plan that has not begun, or has to begin again; says so once for each reason."""
        if row.state == "waiting" and row.reason == reason:
            connection.execute(store.plan.update().where(store.plan.c.id == row.id).values(until=until))
            return
        self._wait(connection, row, reason, until, PlanWaiting)

    def _wait(self, connection: Connection, row: Row[Any], reason: Reason, until: datetime, fact: MakeFact, **fields: Any) -> None:
        self.move(connection, row, "waiting", fact, reason=EXPLANATIONS[reason], until=until, **fields)
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
        prepared = store.newest_job(connection, row.id, "prepare")
        # Each look costs a job: twice as long after each, up to a day.
        until = self._clock.now() + min(LATER * 2 ** min((prepared.attempt if prepared else 1) - 1, 5), store.DAY)
        self._record(connection, row, Wait("missing_labels", until), look(connection, self._config, row, self._clock.now()))
        self.wait(connection, row, "missing_labels", until)

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
        (event_id,) = self._outbox.add(connection, [said], traceparent=trace_of(row.event))
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
                name=self.name(plan, step, attempt), plan=row.id, kind=kind_of(plan.recipe, step), step=step, attempt=attempt, state="wanted", detail="",
                created_at=self._clock.now(),
            )
        )  # fmt: skip

    def mark(self, connection: Connection, name: str, state: str, detail: str = "", seconds: float | None = None) -> None:
        """Note what became of a job."""
        table = store.job
        since = {"created_at": self._clock.now()} if state == "created" else {}
        connection.execute(
            table.update().where(table.c.name == name).values(state=state, detail=detail[:_DETAIL], seconds=seconds, **since)
        )

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


def note_decision(
    database: Database, outbox: Outbox, connection: Connection, fact: DecisionRecorded, now: datetime, traceparent: str | None
) -> None:
    """Store a decision record and announce it."""
    values = {
        "monitor": fact.monitor, "episode": fact.episode, "revision": fact.sequence, "answer": fact.answer, "reason": fact.reason,
        "body": fact.model_dump_json(), "at": now,
    }  # fmt: skip
    changed = ("revision", "answer", "reason", "body", "at")
    connection.execute(database.upsert(store.decision, values, key=("monitor", "episode"), update=changed))
    outbox.add(connection, [fact], traceparent=traceparent)


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


def parse_id(event: str) -> str:
    """Return the id of a stored event."""
    return str(json.loads(event)["id"])


def trace_of(event: str) -> str | None:
    """Return the traceparent of a stored event. What a plan does belongs to it, however much later and in whatever process."""
    return tracing.valid(json.loads(event).get("traceparent"))
