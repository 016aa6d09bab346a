"""What the metrics say of the store: read again and again, so that every replica and every restart tells the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, func, select

from driftsonde.core.config import Config
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import store
from driftsonde.retrainer.metrics import STEPS, RetrainerMetrics
from driftsonde.retrainer.planner import REASONS
from driftsonde.retrainer.situation import spent

_STARTED = ("created",)
_DAY = store.DAY


class Gauges:
    """Reads the store and shows what it finds."""

    def __init__(self, database: Database, config: Config, metrics: RetrainerMetrics, clock: Clock) -> None:
        self._database, self._config, self._metrics, self._clock = database, config, metrics, clock
        self._retrained = {monitor.name: monitor.retrain for monitor in config.monitors if monitor.retrain}

    async def refresh(self) -> None:
        """Read once, in a worker thread.

        Raises:
            RetryableError: when the database is away; what was read before stays.
        """
        await self._database.look(self._read)
        self._metrics.service.read_at.set(self._clock.now().timestamp())

    def _read(self, connection: Connection) -> None:
        now = self._clock.now()
        self._show_plans(connection, now)
        self._show_jobs(connection, now)
        self._show_budget(connection, now)
        self._show_models(connection)

    def _show_plans(self, connection: Connection, now: datetime) -> None:
        plan, metrics = store.plan.c, self._metrics
        states = (*store.UNDECIDED, *store.ACTIVE)
        rows = connection.execute(
            select(plan.state, func.count().label("found"), func.min(plan.updated_at).label("since"))
            .where(plan.state.in_(states))
            .group_by(plan.state)
        ).all()
        metrics.open_plans.show(_counted(states, ((row.state, row.found) for row in rows)))
        metrics.plan_age.show(_ages(store.ACTIVE, ((row.state, row.since) for row in rows if row.state in store.ACTIVE), now))
        why = select(plan.reason, func.count()).where(plan.state == "waiting").group_by(plan.reason)
        metrics.waiting.show(_counted(REASONS, _pairs(connection.execute(why))))
        busy = (
            select(plan.monitor, func.count()).where(plan.state.in_(store.ACTIVE), plan.monitor.in_(self._retrained)).group_by(plan.monitor)
        )
        metrics.at_work.show(_counted(self._retrained, _pairs(connection.execute(busy))))

    def _show_jobs(self, connection: Connection, now: datetime) -> None:
        job, plan = store.job.c, store.plan.c
        joined = store.job.join(store.plan, job.plan == plan.id)  # what is left of a plan that is over runs no more
        wanted = select(job.step, func.count().label("found"), func.min(job.created_at).label("since")).select_from(joined)
        rows = connection.execute(wanted.where(job.state.in_(_STARTED), plan.state.in_(store.ACTIVE)).group_by(job.step)).all()
        self._metrics.running.show(_counted(STEPS, ((row.step, row.found) for row in rows)))
        self._metrics.job_age.show(_ages(STEPS, ((row.step, row.since) for row in rows), now))

    def _show_budget(self, connection: Connection, now: datetime) -> None:
        limits, metrics = self._config.budget, self._metrics
        metrics.trainings_left.set(max(0, limits.training_jobs_per_day - len(store.trainings_since(connection, now - _DAY))))
        metrics.monitor_left.show({
            (name,): float(max(0, policy.max_per_day - len(store.trainings_since(connection, now - _DAY, name))))
            for name, policy in self._retrained.items()
        })  # fmt: skip
        amount, here = spent(connection, self._config, now), (limits.currency,)
        metrics.spent.show({here: amount})
        metrics.spend_left.show({} if limits.spend_per_month is None else {here: limits.spend_per_month - amount})

    def _show_models(self, connection: Connection) -> None:
        metrics = self._metrics
        begun = {name: store.last_training(connection, name) for name in self._retrained}
        metrics.last_training.show({(name,): at.timestamp() if at else 0.0 for name, at in begun.items()})
        champions = {name: store.champion(connection, name) for name in self._retrained}
        metrics.model_at.show({(name,): row.created_at.timestamp() if row else 0.0 for name, row in champions.items()})
        scores = {name: json.loads(row.metrics) for name, row in champions.items() if row}
        metrics.model_score.show({
            (name, score["metric"]): float(score["challenger"]) for name, score in scores.items() if "metric" in score and "challenger" in score
        })  # fmt: skip


def _pairs(rows: Any) -> Iterable[tuple[str, int]]:
    return cast("Iterable[tuple[str, int]]", ((row[0], row[1]) for row in rows))


def _counted(keys: Iterable[str], found: Iterable[tuple[str, int]]) -> dict[tuple[str], float]:
    """Return counts by key; 0 where there are none. What has another key, of an older or newer version, is left out."""
    counts = {(key,): 0.0 for key in keys}
    return counts | {(key,): float(count) for key, count in found if (key,) in counts}


def _ages(keys: Iterable[str], found: Iterable[tuple[str, datetime]], now: datetime) -> dict[tuple[str], float]:
    return {(key,): 0.0 for key in keys} | {(key,): max(0.0, (now - since).total_seconds()) for key, since in found}
