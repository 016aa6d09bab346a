"""Starts and watches what a recipe's `run` names, a pipeline or a state machine, instead of jobs.

What exactly is asked for is decided by pure functions; that nothing is started twice is up to the token or the name in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Row

from driftsonde.core.config import PipelineRun, StateMachineRun
from driftsonde.core.errors import ConfigError
from driftsonde.core.events import TrainingStarted, TrainingSucceeded
from driftsonde.core.log import get_logger
from driftsonde.core.names import digest
from driftsonde.core.ports import Clock, Executions, JobStatus
from driftsonde.core.store.engine import Database
from driftsonde.retrainer.manifest import Manifests
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans, PlanView, kind_of, parse_id
from driftsonde.retrainer.requests import Layout, Request

log = get_logger(__name__)

_MAX_VALUE: Final = 1024  # characters of a pipeline's parameter


def pipeline_request(run: PipelineRun, name: str, token: str, known: Mapping[str, str | int]) -> Request:
    """Return the StartPipelineExecution; a repeat with the same token starts nothing.

    Args:
        token: 32 to 128 characters that stand for this attempt alone.
        known: what the placeholders of the parameters stand for.

    Raises:
        ConfigError: if a parameter's value is longer than SageMaker takes.
    """
    values = {parameter: template.format(**known) for parameter, template in sorted(run.parameters.items())}
    if long := [parameter for parameter, value in values.items() if len(value) > _MAX_VALUE]:
        raise ConfigError(f"run.parameters.{long[0]}: longer than {_MAX_VALUE:,} characters once it is filled in")
    return {
        "PipelineName": run.pipeline, "PipelineExecutionDisplayName": name, "ClientRequestToken": token,
        "PipelineParameters": [{"Name": parameter, "Value": value} for parameter, value in values.items()],
    }  # fmt: skip


def machine_request(run: StateMachineRun, name: str, known: Mapping[str, str | int]) -> Request:
    """Return the StartExecution; the name is unique for each state machine, the input the same on every repeat."""
    return {"stateMachineArn": run.state_machine, "name": name, "input": json.dumps(dict(known), sort_keys=True)}


class Executor:
    """The one step of a plan whose recipe has `run`."""

    def __init__(
        self, database: Database, plans: Plans, manifests: Manifests, executions: Mapping[str, Executions], clock: Clock,
        metrics: RetrainerMetrics,
    ) -> None:  # fmt: skip
        self._database, self._plans, self._manifests = database, plans, manifests
        self._executions, self._clock, self._metrics = executions, clock, metrics

    async def start(self, plan: PlanView, job: Row[Any]) -> None:
        """Write the manifest, start the execution and note it; after a crash in between the same execution is found again.

        Raises:
            ConfigError: if it can never be started.
            QuotaReached: if too many run already.
            RetryableError: if the answer was lost.
        """
        request = self._request(plan, job)
        await self._manifests.write(plan, job.attempt, None)
        execution = await self._of(job).start(request)
        self._metrics.jobs.labels(job.step).inc()
        log.info("execution started", job=job.name, execution=execution, monitor=plan.row.monitor, episode=plan.row.episode)

        def note(connection: Connection) -> None:
            self._plans.mark(connection, job.name, "created", execution)
            self._plans.count_on(connection, plan.row)
            self._plans.say(connection, plan.row, TrainingStarted, plan.row.sequence + 1, job=job.name)

        await self._database.run(note)

    async def status(self, plan: PlanView, job: Row[Any]) -> JobStatus:
        """Describe the execution; one that was stopped because of its time says so, and a failure says where to look."""
        status = await self._of(job).status(job.detail)
        if status.state not in ("failed", "stopped"):
            return status
        run = plan.recipe.run
        taken = status.seconds if status.seconds is not None else (self._clock.now() - job.created_at).total_seconds()
        late = status.state == "stopped" and run is not None and taken > run.timeout.total_seconds()
        said = f"it took longer than its timeout of {run.timeout}" if late and run is not None else status.detail
        return replace(status, detail=f"{said[:700]} ({job.detail})".lstrip())

    async def limit(self, plan: PlanView, job: Row[Any]) -> None:
        """Stop an execution that takes longer than the recipe's timeout, counted from when its start was noted."""
        run = plan.recipe.run
        if run is not None and self._clock.now() - job.created_at > run.timeout:
            log.error("execution takes too long and is stopped", job=job.name, execution=job.detail, limit=str(run.timeout))
            await self._of(job).stop(job.detail, f"driftsonde: it took longer than {run.timeout}")

    def succeeded(self, connection: Connection, plan: PlanView, job: Row[Any], status: JobStatus) -> None:
        """Note the execution's success: the plan is done, since what becomes of the model is up to what was started."""
        self._plans.mark(connection, job.name, "succeeded", json.dumps({"execution": job.detail}), status.seconds)
        self._plans.move(connection, plan.row, "done", TrainingSucceeded, job=job.name, seconds=status.seconds)
        self._metrics.plans.labels("done").inc()

    def _request(self, plan: PlanView, job: Row[Any]) -> Request:
        run = plan.recipe.run
        if run is None or kind_of(plan.recipe, job.step) != job.kind:
            raise ConfigError(f"the recipe's run was changed before the {job.kind} of {plan.row.id} began")
        identity = self._plans.identity(plan, job.step, job.attempt)
        known: dict[str, str | int] = {
            "manifest": Layout.of(plan.recipe, plan.row.monitor, plan.row.episode).manifest(job.attempt),
            "monitor": plan.row.monitor, "episode": plan.row.episode, "event": parse_id(plan.row.event), "deployment": str(identity[0]),
        }  # fmt: skip
        if isinstance(run, StateMachineRun):
            return machine_request(run, job.name, known)
        return pipeline_request(run, job.name, digest("execution", *identity), known)

    def _of(self, job: Row[Any]) -> Executions:
        found = self._executions.get(job.kind)
        if found is None:
            raise ConfigError(f"{job.name}: no recipe starts a {job.kind} any more")
        return found
