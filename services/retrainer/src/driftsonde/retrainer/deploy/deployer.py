"""Does what a deployment's strategy says, one step at a time.

Nothing is remembered here. What was asked for is noted after SageMaker has taken it: a death between the two leads to the
same question again, which SageMaker's endpoint answers by having, or being on its way to, the configuration of that name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from driftsonde.core.config import NoDeploy, ShadowDeploy
from driftsonde.core.errors import ConfigError, RetryableError
from driftsonde.core.events import DeploymentFinished, DeploymentStarted, ModelPromoted, Scores
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock, Endpoints, EndpointState, ObjectStore, TrainingJobs
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import store
from driftsonde.retrainer.deploy import tables
from driftsonde.retrainer.deploy.evidence import Evidence
from driftsonde.retrainer.deploy.gather import Gatherer
from driftsonde.retrainer.deploy.model import Ask, Case, Finish, Names, Restore, Source, Stay, Step, Strategy, Weigh
from driftsonde.retrainer.deploy.strategies import strategy_of
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans, PlanView

log = get_logger(__name__)


class Deployer:
    """Takes plans in the state `deploying` one step further."""

    def __init__(
        self, database: Database, plans: Plans, jobs: TrainingJobs, endpoints: Endpoints, objects: ObjectStore, clock: Clock,
        metrics: RetrainerMetrics,
    ) -> None:  # fmt: skip
        self._database, self._plans, self._jobs, self._endpoints = database, plans, jobs, endpoints
        self._gatherer, self._clock, self._metrics = Gatherer(database, objects), clock, metrics

    def enrol(self, connection: Connection, plan: PlanView, model: Mapping[str, Any]) -> None:
        """Begin a plan's deployment, with its registered model as challenger; part of the caller's transaction.

        Args:
            model: the columns of `store.model` that the registration knows.
        """
        row, deploy, now = plan.row, plan.recipe.deploy, self._clock.now()
        assert not isinstance(deploy, NoDeploy)  # the caller has asked
        mine = {**model, "monitor": row.monitor, "plan": row.id, "state": "challenger", "created_at": now}
        connection.execute(self._database.upsert(store.model, mine, key=("name",)))
        values = {
            "plan": row.id, "monitor": row.monitor, "endpoint": deploy.endpoint, "strategy": deploy.strategy, "model": model["name"],
            "reason": "", "created_at": now,
        }  # fmt: skip
        connection.execute(self._database.upsert(tables.deployment, values, key=("plan",)))
        self._plans.move(
            connection, row, "deploying", DeploymentStarted, reason=row.reason, endpoint=deploy.endpoint, strategy=deploy.strategy,
            model=model["name"], scores=Scores.model_validate_json(model["metrics"]),
        )  # fmt: skip

    async def advance(self, plan: PlanView) -> bool:
        """Take a plan's deployment one step further; False when there is nothing to do now.

        Raises:
            ConfigError: if not even the former configuration can be restored; the plan has failed.
            RetryableError: if SageMaker or S3 is away.
        """
        row = await self._database.look(tables.deployment_of, plan.row.id)
        endpoint = await self._endpoints.state(row.endpoint)
        if endpoint is not None and endpoint.busy:
            return False
        row = await self._seen(row, endpoint)
        strategy = strategy_of(plan.recipe.deploy)
        try:
            if strategy is None or _is_stopped(row):
                step: Step = Restore(row.stop or "the recipe no longer deploys")
            else:
                step = await self._next(plan, row, strategy, await self._case(plan, row, endpoint))
            return await self._do(plan, row, step, endpoint)
        except ConfigError as exc:
            if row.asked is not None and row.asked == row.former:
                raise
            log.error("deployment cannot go on", plan=plan.row.id, reason=str(exc))
            return await self._do(plan, row, Restore(str(exc)), endpoint)

    async def _next(self, plan: PlanView, row: Row[Any], strategy: Strategy, case: Case) -> Step:
        if case.asked is not None and case.asked == row.former:
            return _restored(case, row)
        source = strategy.source(case)
        if source is None:
            return strategy.step(case)
        evidence = await self._evidence(plan, row, source, case.now)
        return strategy.step(_with(case, evidence))

    async def _evidence(self, plan: PlanView, row: Row[Any], source: Source, now: datetime) -> Evidence:
        deploy = plan.recipe.deploy
        if source.kind == "captures" and isinstance(deploy, ShadowDeploy):
            before = now - deploy.settle
            return await self._gatherer.captures(source.uri, row.endpoint, before=before, tolerance=deploy.tolerance)
        return await self._gatherer.rewards(plan.row.id, source.uri, source.field)

    async def _seen(self, row: Row[Any], endpoint: EndpointState | None) -> Row[Any]:
        """Note which configuration is in force, when it is another than before; at first it is the one to return to."""
        config = endpoint.config if endpoint is not None else None
        if row.since is not None and row.in_force == config:
            return row
        first = {"former": config} if row.since is None else {}
        return await self._note(row, in_force=config, since=self._clock.now(), **first)

    async def _note(self, row: Row[Any], **values: Any) -> Row[Any]:
        table = tables.deployment

        def write(connection: Connection) -> Row[Any]:
            connection.execute(table.update().where(table.c.plan == row.plan).values(**values))
            return tables.deployment_of(connection, row.plan)

        return await self._database.run(write)

    async def _case(self, plan: PlanView, row: Row[Any], endpoint: EndpointState | None) -> Case:
        former = await self._endpoints.config(row.former) if row.former is not None else None
        names = Names(self._plans.name(plan, "trial", 1), self._plans.name(plan, "live", 1), row.model)
        return Case(names, endpoint, former, row.asked, row.since, self._clock.now(), seed=row.plan)

    async def _do(self, plan: PlanView, row: Row[Any], step: Step, endpoint: EndpointState | None) -> bool:
        match step:
            case Ask():
                await self._ask(plan, row, step)
            case Weigh(weights):
                await self._endpoints.weigh(row.endpoint, weights)
                log.info("traffic moved", endpoint=row.endpoint, weights=dict(weights))
            case Stay(until):
                await self._database.run(_look_at, plan.row, until)
                return False
            case Restore(reason):
                await self._restore(plan, row, reason, endpoint)
            case Finish():
                await self._database.run(self._finish, plan, row, step)
        return True

    async def _ask(self, plan: PlanView, row: Row[Any], step: Ask) -> None:
        name = step.config["EndpointConfigName"]
        kind = "live" if name == self._plans.name(plan, "live", 1) else "trial"
        tags = self._plans.tags(plan, kind, 1, step.config)
        await self._jobs.create("endpoint-config", {**step.config, "Tags": tags})
        await self._endpoints.point(row.endpoint, name, step.guard, tags)
        await self._note(row, asked=name, reason=step.reason)
        log.info("endpoint configuration asked for", endpoint=row.endpoint, config=name, reason=step.reason)

    async def _restore(self, plan: PlanView, row: Row[Any], reason: str, endpoint: EndpointState | None) -> None:
        """Return to the former configuration, or end at once where it is in force or there was none."""
        if row.former is None or (endpoint is not None and endpoint.config == row.former):
            await self._database.run(self._finish, plan, row, Finish("rolled_back", reason))
            return
        await self._endpoints.point(row.endpoint, row.former, None, [])
        await self._note(row, asked=row.former, reason=reason)
        log.warning("former endpoint configuration asked for", endpoint=row.endpoint, config=row.former, reason=reason)

    async def abandon(self, plan: Row[Any]) -> None:
        """Give the endpoint back its former configuration, for a plan whose monitor or recipe is gone.

        Raises:
            RetryableError: if the endpoint is busy or SageMaker is away: the plan stays as it is until then.
        """
        row = await self._database.look(tables.deployment_of, plan.id)
        if row is None or row.outcome is not None:
            return
        if row.asked is not None and row.former is not None:
            state = await self._endpoints.state(row.endpoint)
            if state is not None and state.busy:  # on its way to the trial it still has the former configuration, and would seem done
                raise RetryableError(f"the endpoint {row.endpoint} is {state.status}", retry_after=30.0)
            with contextlib.suppress(ConfigError):  # somebody has taken away what it should return to
                await self._endpoints.point(row.endpoint, row.former, None, [])
        await self._database.run(self._abandoned, row)
        log.warning("deployment abandoned", endpoint=row.endpoint, model=row.model, former=row.former)

    def _abandoned(self, connection: Connection, row: Row[Any]) -> None:
        table, ended = tables.deployment, {"outcome": "rolled_back", "reason": "no longer configured", "finished_at": self._clock.now()}
        connection.execute(table.update().where(table.c.plan == row.plan).values(**ended))
        connection.execute(store.model.update().where(store.model.c.name == row.model).values(state="rolled_back"))
        self._metrics.deployments.labels("rolled_back").inc()

    def _finish(self, connection: Connection, plan: PlanView, row: Row[Any], end: Finish) -> None:
        """End the deployment: the model is champion now, or it is not to be."""
        why = (row.reason if end.outcome == "live" else "") or end.reason
        now, table, mine = self._clock.now(), tables.deployment, store.model
        model = connection.execute(mine.select().where(mine.c.name == row.model)).one()
        said = {
            "reason": why[:1000], "endpoint": row.endpoint, "strategy": row.strategy, "model": row.model, "outcome": end.outcome,
        }  # fmt: skip
        if end.outcome == "live":
            values = {key: getattr(model, key) for key in ("name", "data", "encoding", "package", "metrics", "drops")}
            state = "transforming" if plan.recipe.batch.enabled else "done"
            self._plans.promote(connection, plan.row, values, state, DeploymentFinished, **said)
            self._plans.say(
                connection, plan.row, ModelPromoted, plan.row.sequence + 2, reason=plan.row.reason, model=model.name,
                package=model.package, model_data=model.data, scores=Scores.model_validate_json(model.metrics), drops=store.drops_of(model),
            )  # fmt: skip
        else:
            connection.execute(mine.update().where(mine.c.name == row.model).values(state="rolled_back"))
            self._plans.move(connection, plan.row, "rolled_back", DeploymentFinished, **said)
            self._metrics.plans.labels("rolled_back").inc()
        ended = {"outcome": end.outcome, "reason": why[:4000], "finished_at": now}
        connection.execute(table.update().where(table.c.plan == row.plan).values(**ended))
        self._metrics.deployments.labels(end.outcome).inc()


def _is_stopped(row: Row[Any]) -> bool:
    """Whether somebody has ended the deployment, and it is not on its way back yet. A new endpoint has no way back once it was asked for."""
    if row.stop is None:
        return False
    return row.asked is None if row.former is None else bool(row.asked != row.former)


def _restored(case: Case, row: Row[Any]) -> Step:
    """Return the end of a deployment that was to return to the former configuration.

    Raises:
        ConfigError: if SageMaker did not: a person has to look.
    """
    if case.endpoint is None or case.endpoint.config != row.former:
        found = case.endpoint.reason if case.endpoint else "it is gone"
        raise ConfigError(f"the endpoint {row.endpoint} could not be returned to {row.former}: {found}; before that: {row.reason}")
    return Finish("rolled_back", row.reason)


def _with(case: Case, evidence: Evidence) -> Case:
    return Case(case.names, case.endpoint, case.former, case.asked, case.since, case.now, evidence, case.seed)


def _look_at(connection: Connection, row: Row[Any], until: datetime) -> None:
    """Leave the plan alone until then."""
    connection.execute(store.plan.update().where(store.plan.c.id == row.id, store.plan.c.state == row.state).values(until=until))
