"""What a decision depends on, read from the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from driftsonde.core.config import Config, Recipe
from driftsonde.core.events import DriftDetected, Estimate, parse_event
from driftsonde.retrainer import costs, store
from driftsonde.retrainer.decision import share_of
from driftsonde.retrainer.planner import Approval, Situation

_MONTH: Final = timedelta(days=30)
_PAST_JOBS: Final = 10


@dataclass(frozen=True, slots=True)
class Known:
    """A situation, and what it was drawn from.

    Args:
        importances: share of the champion's importance by column; empty where it is not known.
        cost: what the plan would cost; None without a recipe.
    """

    situation: Situation
    drift: DriftDetected
    importances: Mapping[str, float]
    cost: Estimate | None


def look(connection: Connection, config: Config, row: Row[Any], now: datetime) -> Known:
    """Read what a plan's decision depends on."""
    drift = parse_event(row.event.encode()).data
    assert isinstance(drift, DriftDetected)  # only such events make plans
    recipe = _recipe(config, row.monitor)
    importances = _importances(connection, row.monitor)
    cost = costs.estimate(recipe, _past(connection, row.monitor, recipe), config.budget) if recipe else None
    approval, until = _approval(connection, row, now)
    situation = Situation(
        trainable=drift.trainable,
        problems=drift.problems,
        episode_open=not _has(connection, store.episode_end, row),
        untrusted=_has(connection, store.untrusted, row, any_episode=True),
        unreadable=connection.scalar(select(store.unreadable.c.at).where(store.unreadable.c.monitor == row.monitor)),
        confirmed=_has(connection, store.confirmed, row),
        importance=share_of(drift.columns, importances),
        in_flight=_in_flight(connection, row.monitor),
        last_training=store.last_training(connection, row.monitor),
        trainings=store.trainings_since(connection, now - store.DAY, row.monitor),
        all_trainings=store.trainings_since(connection, now - store.DAY),
        spent=spent(connection, config, now) if config.budget.spend_per_month is not None else 0.0,
        expected=cost.amount if cost else None,
        approval=approval,
        approval_until=until,
    )
    return Known(situation, drift, importances, cost)


def _recipe(config: Config, monitor: str) -> Recipe | None:
    found = config.monitor(monitor)
    return config.recipes.get(found.retrain.recipe) if found and found.retrain else None


def _has(connection: Connection, table: Any, row: Row[Any], *, any_episode: bool = False) -> bool:
    wanted = select(table.c.episode).where(table.c.monitor == row.monitor)
    return connection.scalar((wanted if any_episode else wanted.where(table.c.episode == row.episode)).limit(1)) is not None


def _in_flight(connection: Connection, monitor: str) -> bool:
    table = store.plan
    return connection.scalar(select(table.c.id).where(table.c.monitor == monitor, table.c.state.in_(store.ACTIVE)).limit(1)) is not None


def _importances(connection: Connection, monitor: str) -> dict[str, float]:
    champion = store.champion(connection, monitor)
    return dict(json.loads(champion.metrics).get("importance") or {}) if champion is not None else {}


def _past(connection: Connection, monitor: str, recipe: Recipe) -> dict[str, Sequence[float]]:
    """Return the seconds of a monitor's latest jobs of each step; a single training says nothing of a tuning job, nor the other way."""
    found: dict[str, Sequence[float]] = {}
    for step in costs.STEPS:
        table = store.job.join(store.plan, store.job.c.plan == store.plan.c.id)
        wanted = select(store.job.c.seconds).select_from(table).where(store.plan.c.monitor == monitor, store.job.c.step == step)
        if step == "train":
            tuned = store.job.c.kind == "tuning"
            wanted = wanted.where(tuned if recipe.training.tune is not None else ~tuned)
        latest = wanted.where(store.job.c.state == "succeeded", store.job.c.seconds.is_not(None)).order_by(store.job.c.created_at.desc())
        found[step] = connection.scalars(latest.limit(_PAST_JOBS)).all()
    return found


def spent(connection: Connection, config: Config, now: datetime) -> float:
    """Return what the jobs of the last 30 days cost, and what the plans that are at work may cost yet; jobs whose recipe is gone cost 0."""
    joined = store.job.join(store.plan, store.job.c.plan == store.plan.c.id)
    columns = (
        store.plan.c.monitor,
        store.plan.c.state,
        store.job.c.plan,
        store.job.c.step,
        store.job.c.seconds,
        store.job.c.state.label("job"),
    )
    total: dict[tuple[str, str], float] = {}  # by plan, and its monitor while it is at work
    for job in connection.execute(select(*columns).select_from(joined).where(store.job.c.created_at > now - _MONTH)):
        recipe = _recipe(config, job.monitor)
        if recipe is not None:
            # Of a job that runs nobody knows yet how long it takes: its limit counts.
            running = costs.limit(recipe, job.step) if job.job in ("wanted", "created") else 0.0
            key = job.plan, job.monitor if job.state in store.ACTIVE else ""
            total[key] = total.get(key, 0.0) + costs.cost(recipe, job.step, job.seconds or running, config.budget)
    return sum(max(amount, _expected(connection, config, monitor)) for (_, monitor), amount in total.items())


def _expected(connection: Connection, config: Config, monitor: str) -> float:
    recipe = _recipe(config, monitor)
    return costs.estimate(recipe, _past(connection, monitor, recipe), config.budget).amount or 0.0 if recipe else 0.0


def _approval(connection: Connection, row: Row[Any], now: datetime) -> tuple[Approval, datetime | None]:
    table = store.approval
    asked = connection.execute(select(table).where(table.c.monitor == row.monitor, table.c.episode == row.episode)).first()
    if asked is None:
        return "none", None
    if asked.state == "asked" and asked.until <= now:
        return "expired", asked.until
    return asked.state, asked.until
