"""Taking the champion back by hand: the former model serves again, and the next challenger is compared with it.

A request is written down first and worked off by the watcher, so that a death in between loses nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from driftsonde.core.errors import ConfigError, DriftsondeError
from driftsonde.core.events import DeploymentFinished, ModelPromoted, Scores
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock, Endpoints, TrainingJobs
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import store
from driftsonde.retrainer.deploy import tables
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans

log = get_logger(__name__)

_OPEN = ("wanted", "asked")
_ON_ITS_WAY = ("promoting", "deploying")


class Impossible(DriftsondeError):
    """There is nothing to return to, or something else has to end first; the text says which."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was written down: which model is taken back, on which endpoint, and which one is champion then.

    None where there is no endpoint, or where driftsonde did not train the model.
    """

    model: str
    previous: str | None
    endpoint: str | None


def request(connection: Connection, database: Database, clock: Clock, monitor: str, reason: str) -> Accepted:
    """Write down that a monitor's champion is to be taken back, or the model that is on its way; the same again changes nothing.

    Raises:
        Impossible: if it cannot be.
    """
    database.lock(connection, f"rollback:{monitor}")
    plan = store.plan
    for row in connection.execute(select(plan).where(plan.c.monitor == monitor, plan.c.state.in_(_ON_ITS_WAY))):
        return _stop(connection, row, reason)
    table = tables.rollback
    pending = connection.execute(select(table).where(table.c.monitor == monitor, table.c.state.in_(_OPEN))).first()
    if pending is not None:
        return Accepted(pending.model, pending.previous, pending.endpoint)
    champion = store.champion(connection, monitor)
    if champion is None:
        raise Impossible(f"no model of {monitor} was promoted by driftsonde")
    live, previous = _live(connection, champion.name), _previous(connection, monitor)
    if live is None and previous is None:
        raise Impossible(f"{champion.name} is the first model of {monitor}; there is none to return to")
    if live is not None and live.former is None:
        raise Impossible(f"the endpoint {live.endpoint} was made for {champion.name}; there is no configuration to return to")
    accepted = Accepted(champion.name, previous.name if previous else None, live.endpoint if live else None)
    values = {
        **asdict(accepted), "monitor": monitor, "plan": champion.plan, "former": live.former if live else None, "reason": reason,
        "state": "wanted", "detail": "", "created_at": clock.now(), "ended_at": None,
    }  # fmt: skip
    # One that has failed is tried again.
    changed = ("reason", "state", "detail", "created_at", "ended_at")
    connection.execute(database.upsert(table, values, key=("model",), update=changed))
    return accepted


def _stop(connection: Connection, plan: Row[Any], reason: str) -> Accepted:
    """End a deployment that is under way: its model never becomes champion."""
    table = tables.deployment
    row = connection.execute(select(table).where(table.c.plan == plan.id)).first()
    if row is None:
        raise Impossible(f"a model of {plan.monitor} is being registered (plan {plan.id}); ask again in a minute")
    if row.asked is not None and row.former is None:
        raise Impossible(f"the endpoint {row.endpoint} is being made for {row.model}; there is no configuration to return to")
    connection.execute(table.update().where(table.c.plan == plan.id, table.c.stop.is_(None)).values(stop=reason))
    connection.execute(store.plan.update().where(store.plan.c.id == plan.id).values(until=None))
    champion = store.champion(connection, plan.monitor)
    return Accepted(row.model, champion.name if champion else None, row.endpoint)


class Rollbacks:
    """Works off the requests."""

    def __init__(
        self, database: Database, plans: Plans, jobs: TrainingJobs, endpoints: Endpoints, clock: Clock, metrics: RetrainerMetrics
    ) -> None:
        self._database, self._plans, self._jobs, self._endpoints = database, plans, jobs, endpoints
        self._clock, self._metrics = clock, metrics

    async def advance(self) -> bool:
        """Take every open request one step further; True when any moved.

        Raises:
            RetryableError: if SageMaker is away.
        """
        moved = False
        for row in await self._database.look(_open):
            try:
                moved = await self._step(row) or moved
            except ConfigError as exc:
                log.error("rollback failed", model=row.model, reason=str(exc))
                await self._database.run(self._end, row, "failed", str(exc))
        return moved

    async def _step(self, row: Row[Any]) -> bool:
        if row.endpoint is not None:
            endpoint = await self._endpoints.state(row.endpoint)
            if endpoint is not None and endpoint.busy:
                return False
            if endpoint is None or endpoint.config != row.former:
                if row.state == "asked":
                    raise ConfigError(f"{row.endpoint} did not take {row.former}: {endpoint.reason if endpoint else 'it is gone'}")
                await self._endpoints.point(row.endpoint, row.former, None, [])
                await self._database.run(self._note, row, "asked")
                return True
        previous = await self._database.look(_model, row.previous) if row.previous else None
        champion = await self._database.look(_model, row.model)
        if champion is not None:
            await self._jobs.judge(champion.package, "Rejected", row.reason)
        if previous is not None:
            await self._jobs.judge(previous.package, "Approved", f"restored in place of {row.model}")
        await self._database.run(self._finish, row)
        log.warning("champion taken back", monitor=row.monitor, model=row.model, previous=row.previous, reason=row.reason)
        return True

    def _note(self, connection: Connection, row: Row[Any], state: str, /, **values: Any) -> bool:
        """Change a request that is still as it was read; False if another replica was faster."""
        table = tables.rollback
        same = (table.c.model == row.model, table.c.state == row.state)
        return connection.execute(table.update().where(*same).values(state=state, **values)).rowcount == 1

    def _end(self, connection: Connection, row: Row[Any], state: str, detail: str) -> bool:
        return self._note(connection, row, state, detail=detail[:4000], ended_at=self._clock.now())

    def _finish(self, connection: Connection, row: Row[Any]) -> None:
        """Crown the former champion and say so. The detector gets its baseline back by the promotion of the former model."""
        if not self._end(connection, row, "done", ""):
            return
        table = store.model
        connection.execute(table.update().where(table.c.name == row.model).values(state="rolled_back"))
        plan, deployed = store.plan_row(connection, row.plan), _live(connection, row.model)
        assert plan is not None  # plans are never deleted
        self._plans.count_on(connection, plan)
        self._plans.say(
            connection, plan, DeploymentFinished, plan.sequence + 1, reason=row.reason[:1000], endpoint=row.endpoint or "",
            strategy=deployed.strategy if deployed else "none", model=row.model, outcome="rolled_back",
        )  # fmt: skip
        self._metrics.deployments.labels("rolled_back").inc()
        previous = _model(connection, row.previous) if row.previous else None
        if previous is None:
            return
        connection.execute(table.update().where(table.c.name == previous.name).values(state="champion"))
        if drops := store.drops_of(previous):
            self._plans.say(
                connection, plan, ModelPromoted, plan.sequence + 2, reason=f"restored in place of {row.model}: {row.reason}"[:1000],
                model=previous.name, package=previous.package, model_data=previous.data,
                scores=Scores.model_validate_json(previous.metrics), drops=drops,
            )  # fmt: skip


def _open(connection: Connection) -> list[Row[Any]]:
    table = tables.rollback
    return list(connection.execute(select(table).where(table.c.state.in_(_OPEN)).order_by(table.c.created_at)))


def _model(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(store.model).where(store.model.c.name == name)).first()


def _previous(connection: Connection, monitor: str) -> Row[Any] | None:
    """Return the champion before the present one."""
    table = store.model
    retired = select(table).where(table.c.monitor == monitor, table.c.state == "retired").order_by(table.c.created_at.desc()).limit(1)
    return connection.execute(retired).first()


def _live(connection: Connection, model: str) -> Row[Any] | None:
    """Return the deployment that brought a model to its endpoint; None if it has none."""
    table = tables.deployment
    return connection.execute(select(table).where(table.c.model == model, table.c.outcome == "live")).first()
