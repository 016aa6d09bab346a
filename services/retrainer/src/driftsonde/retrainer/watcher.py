"""Drives plans: creates the jobs that are wanted, looks at those that run, and moves the plan when one ends.

Nothing is remembered here. Whatever dies, the next round reads the same rows and goes on from them; a job that was created
but not noted is recognised by its name and tags.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row

from driftsonde.core import tracing
from driftsonde.core.errors import ConfigError, GoneError, QuotaReached, RetryableError, Throttled
from driftsonde.core.events import (
    BatchFinished,
    ModelHeld,
    TrainingFailed,
    TrainingStarted,
    TrainingSucceeded,
)
from driftsonde.core.lifecycle import Health
from driftsonde.core.log import get_logger
from driftsonde.core.names import split_s3
from driftsonde.core.ports import Clock, Endpoints, Executions, JobStatus, ObjectStore, TrainingJobs
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import costs, requests, store
from driftsonde.retrainer.deploy.deployer import Deployer
from driftsonde.retrainer.deploy.rollback import Rollbacks
from driftsonde.retrainer.executor import Executor
from driftsonde.retrainer.gate import passes, scores_of
from driftsonde.retrainer.manifest import Manifests
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.planner import LATER
from driftsonde.retrainer.plans import STEP, Outrun, Plans, PlanView, succeeded, trace_of
from driftsonde.retrainer.promotion import Promoter
from driftsonde.retrainer.requests import Layout

log = get_logger(__name__)

MAX_ATTEMPTS = 2
VANISHED = timedelta(minutes=10)
"""A job that SageMaker does not know so long after it was wanted is lost: it has failed."""
MAX_TROUBLES = 3
"""So many plans that cannot go on end a round: each may have waited for its timeouts."""


class Watcher:
    """Goes round all open plans."""

    def __init__(
        self, database: Database, plans: Plans, jobs: TrainingJobs, endpoints: Endpoints, objects: ObjectStore, clock: Clock,
        metrics: RetrainerMetrics, *, image: Callable[[], str], executions: Mapping[str, Executions] | None = None,
    ) -> None:  # fmt: skip
        self._database, self._plans, self._jobs, self._objects = database, plans, jobs, objects
        self._clock, self._metrics, self._image, self._budget = clock, metrics, image, plans.budget
        self._deployer = Deployer(database, plans, jobs, endpoints, objects, clock, metrics)
        self._rollbacks = Rollbacks(database, plans, jobs, endpoints, clock, metrics)
        self._manifests = Manifests(database, objects, clock)
        self._executor = Executor(database, plans, self._manifests, executions or {}, clock, metrics)
        self._promoter = Promoter(database, plans, jobs, self._deployer, self._manifests, self._image_of)

    async def run(self, stop: asyncio.Event, changed: asyncio.Event, health: Health, poll_seconds: float, wake: Callable[[], None]) -> None:
        """Go round at each change and at least every `poll_seconds`, until `stop` is set."""
        while not stop.is_set():
            health.beat("watcher")
            changed.clear()
            try:
                moved = await self.round()
                health.report("sagemaker", None)
            except RetryableError as exc:
                log.warning("cannot go on now", error=str(exc))
                health.report("sagemaker", str(exc))
                moved = False
            wake()
            if not moved:
                waiters = [asyncio.create_task(changed.wait()), asyncio.create_task(stop.wait())]
                await asyncio.wait(waiters, timeout=poll_seconds, return_when=asyncio.FIRST_COMPLETED)
                for waiter in waiters:
                    waiter.cancel()

    async def round(self) -> bool:
        """Take every open plan one step further; True when any moved. One plan's trouble does not hold up the others.

        Raises:
            RetryableError: at the end, if plans could not go on now; earlier if SageMaker asks for less or seems to be away.
        """
        now, moved = self._clock.now(), False
        troubles: list[RetryableError] = []
        for row in await self._database.look(store.plans_in, store.UNDECIDED):
            if len(troubles) < MAX_TROUBLES and (row.until is None or row.until <= now or await self._database.look(store.has_news, row)):
                moved = await self._alone(self._decide(row), row.id, troubles) or moved
        rows = await self._database.look(store.plans_in, store.ACTIVE)
        # What is no longer configured waits for nothing: a trial on an endpoint would go on serving.
        active = [row for row in rows if row.until is None or row.until <= now or self._plans.view(row) is None]
        random.shuffle(active)  # where a round ends early, it is not always the same plans that are left out
        moved = await self._alone(self._rollbacks.advance(), "rollbacks", troubles) or moved
        for row in active:
            if len(troubles) >= MAX_TROUBLES or any(isinstance(trouble, Throttled) for trouble in troubles):
                break
            moved = await self._alone(self._advance(row), row.id, troubles) or moved
        if troubles:
            raise troubles[0]
        return moved

    @staticmethod
    async def _alone(work: Awaitable[bool], plan: str, troubles: list[RetryableError]) -> bool:
        """Do something for one plan, so that its trouble stops no other; returns whether the plan moved."""
        try:
            return await work
        except Outrun:
            return True
        except RetryableError as exc:
            troubles.append(exc)
        except Exception:  # the only broad handler: an unknown error in one plan is tried again
            log.exception("unexpected error in a plan", plan=plan)
        return False

    async def _decide(self, row: Row[Any]) -> bool:
        await self._database.run(self._plans.decide, row)
        return True

    async def _advance(self, row: Row[Any]) -> bool:
        plan = self._plans.view(row)
        if plan is None:
            if row.state == "deploying":
                await self._deployer.abandon(row)
            await self._fail(row, "", "its monitor or recipe is no longer configured")
            return True
        try:
            if row.state == "promoting":
                await self._promoter.promote(plan)
                return True
            if row.state == "deploying":
                return await self._deployer.advance(plan)
            job = await self._database.look(store.newest_job, row.id, STEP[row.state])
            if job is None:
                raise LookupError(f"{row.id} has no {STEP[row.state]} job")
            if job.state == "wanted":
                with tracing.span("create job", trace_of(plan.row.event), step=job.step):
                    await self._create(plan, job)
                return True
            status = await (self._executor.status(plan, job) if job.step == "execute" else self._jobs.status(job.kind, job.name))
            if status.state == "unknown" and self._clock.now() - job.created_at < VANISHED:
                return False
            if status.state in ("pending", "running"):
                await self._limit(plan, job)
                return False
            await self._ended(plan, job, status)
        except QuotaReached:
            await self._database.run(self._plans.park, row, self._clock.now() + LATER)
            return False
        except (ConfigError, GoneError) as exc:
            await self._fail(row, "", str(exc))
        return True

    async def _limit(self, plan: PlanView, job: Row[Any]) -> None:
        """Stop what takes too long; to the other kinds of job SageMaker itself sets the limit that the request names."""
        if job.step == "execute":
            await self._executor.limit(plan, job)
            return
        limit = plan.recipe.batch.compute.max_runtime
        if job.kind == "transform" and self._clock.now() - job.created_at > limit:
            log.error("job takes too long and is stopped", job=job.name, limit=str(limit))
            await self._jobs.stop(job.kind, job.name)

    async def _create(self, plan: PlanView, job: Row[Any]) -> None:
        if job.step == "execute":
            await self._executor.start(plan, job)
            return
        request = await self._request(plan, job)
        request["Tags"] = self._plans.tags(plan, job.step, job.attempt, request)
        await self._jobs.create(job.kind, request)
        self._metrics.jobs.labels(job.step).inc()
        log.info("job created", job=job.name, step=job.step, monitor=plan.row.monitor, episode=plan.row.episode)

        def note(connection: Connection) -> None:
            self._plans.mark(connection, job.name, "created")
            self._plans.count_on(connection, plan.row)
            if job.step == "train":
                self._plans.say(connection, plan.row, TrainingStarted, plan.row.sequence + 1, job=job.name)

        await self._database.run(note)

    async def _request(self, plan: PlanView, job: Row[Any]) -> dict[str, Any]:
        layout, recipe = Layout.of(plan.recipe, plan.row.monitor, plan.row.episode), plan.recipe
        if job.step == "prepare":
            _, encoding = await self._champion(plan)
            await self._manifests.write(plan, job.attempt, encoding)
            return requests.prepare(recipe, layout, job.name, job.attempt)
        prepared, _ = await self._database.look(succeeded, plan.row.id, "prepare")
        if job.step == "train":
            return self._training(plan, job, layout, await self._image_of(plan), prepared)
        if job.step == "evaluate":
            _, trained = await self._database.look(succeeded, plan.row.id, "train")
            champion, _ = await self._champion(plan)
            return requests.evaluate(recipe, layout, job.name, job.attempt, prepared, trained["artifact"], champion)
        return requests.transform(recipe, layout, job.name, self._plans.name(plan, "model", 1), prepared)

    @staticmethod
    def _training(plan: PlanView, job: Row[Any], layout: Layout, image: str, prepared: int) -> dict[str, Any]:
        """Return the request of the train step, of the kind that was chosen when the job was wanted: its name depends on that.

        Raises:
            ConfigError: if the recipe has lost what a tuning job searches.
        """
        if job.kind != "tuning":
            return requests.train(plan.recipe, layout, job.name, image, prepared)
        if plan.recipe.training.tune is None:
            raise ConfigError(f"training.tune was taken out of the recipe before the tuning job {job.name} was created")
        return requests.tune(plan.recipe, plan.recipe.training.tune, layout, job.name, image, prepared)

    async def _image_of(self, plan: PlanView) -> str:
        configured = plan.recipe.training.image
        return configured if configured is not None else await asyncio.to_thread(self._image)

    async def _champion(self, plan: PlanView) -> tuple[str | None, str | None]:
        """Return the champion's model and encoding: ours, else the configured one, else none."""
        row = await self._database.look(store.champion, plan.row.monitor)
        if row is not None:
            return row.data, row.encoding
        configured = plan.recipe.champion
        return (configured.model, configured.encoding) if configured else (None, None)

    async def _read(self, uri: str) -> bytes:
        bucket, key = split_s3(uri)
        info = await self._objects.head(bucket, key)
        return await self._objects.read(bucket, key, 0, info.size, etag=info.etag)

    async def _ended(self, plan: PlanView, job: Row[Any], status: JobStatus) -> None:
        if status.state != "succeeded":
            await self._job_failed(plan, job, status)
            return
        layout = Layout.of(plan.recipe, plan.row.monitor, plan.row.episode)
        if job.step == "execute":
            await self._database.run(self._executor.succeeded, plan, job, status)
        elif job.step == "prepare":
            summary = await self._report(f"{layout.prepared(job.attempt, 'meta')}/summary.json", "train", "holdout")
            await self._database.run(self._prepared, plan, job, status, summary)
        elif job.step == "train":
            await self._database.run(self._trained, plan, job, status)
        elif job.step == "evaluate":
            metrics = await self._report(f"{layout.metrics(job.attempt)}/metrics.json", "challenger", "rows")
            await self._database.run(self._evaluated, plan, job, status, metrics)
        else:
            await self._database.run(self._transformed, plan, job, status)
        self._count(plan, job, status)

    def _count(self, plan: PlanView, job: Row[Any], status: JobStatus) -> None:
        """Count what a job took; after the transaction, so that each job counts once."""
        amount = costs.cost(plan.recipe, job.step, status.seconds or 0.0, self._budget)
        self._metrics.ended(job.step, status.seconds, amount)

    async def _report(self, uri: str, *numbers: str) -> dict[str, Any]:
        """Read what a step has written.

        Raises:
            ConfigError: if it is not JSON with these numbers: the step, perhaps the user's own, is wrong.
        """
        try:
            found = json.loads(await self._read(uri))
        except ValueError as exc:
            raise ConfigError(f"{uri} is not JSON: {exc}") from exc
        wrong = [key for key in numbers if not isinstance(found, dict) or not isinstance(found.get(key), int | float)]
        if wrong:
            raise ConfigError(f"{uri} must be a JSON object with the numbers {', '.join(numbers)}; wrong or missing: {', '.join(wrong)}")
        return dict(found)

    def _prepared(self, connection: Connection, plan: PlanView, job: Row[Any], status: JobStatus, summary: dict[str, Any]) -> None:
        self._plans.mark(connection, job.name, "succeeded", json.dumps(summary), status.seconds)
        if summary["holdout"] < plan.recipe.gate.minimum_rows or not summary["train"]:
            self._plans.wait_for_labels(connection, plan.row)
        else:
            self._plans.move(connection, plan.row, "training")

    def _trained(self, connection: Connection, plan: PlanView, job: Row[Any], status: JobStatus) -> None:
        self._plans.mark(connection, job.name, "succeeded", json.dumps({"artifact": status.artifact}), status.seconds)
        self._plans.move(
            connection, plan.row, "evaluating", TrainingSucceeded, job=job.name, metrics=dict(status.metrics or {}), seconds=status.seconds
        )

    def _evaluated(self, connection: Connection, plan: PlanView, job: Row[Any], status: JobStatus, metrics: dict[str, Any]) -> None:
        scores = scores_of(plan.recipe.gate, metrics)
        self._plans.mark(connection, job.name, "succeeded", scores.model_dump_json(), status.seconds)
        promoted, reason = passes(plan.recipe.gate, scores)
        if promoted:
            self._plans.move(connection, plan.row, "promoting", reason=reason)
        else:
            name = self._plans.name(plan, "model", 1)
            self._plans.move(connection, plan.row, "held", ModelHeld, reason=reason, model=name, scores=scores)
            self._metrics.plans.labels("held").inc()

    def _transformed(self, connection: Connection, plan: PlanView, job: Row[Any], status: JobStatus) -> None:
        self._plans.mark(connection, job.name, "succeeded", seconds=status.seconds)
        self._batch_finished(connection, plan, job, "succeeded")

    def _batch_finished(self, connection: Connection, plan: PlanView, job: Row[Any], state: str, reason: str = "") -> None:
        output = Layout.of(plan.recipe, plan.row.monitor, plan.row.episode).predictions
        ending = "done" if state == "succeeded" else "failed"
        self._plans.move(connection, plan.row, ending, BatchFinished, job=job.name, state=state, output=output, reason=reason)
        self._metrics.plans.labels(ending).inc()

    async def _job_failed(self, plan: PlanView, job: Row[Any], status: JobStatus) -> None:
        """Try a failed job once more, under a new name; then the plan has failed."""
        self._metrics.failures.labels(job.step).inc()
        reason = f"{job.step} job {status.state}: {status.detail}"[:1000]
        log.error("job failed", job=job.name, reason=reason)

        def note(connection: Connection) -> None:
            self._plans.mark(connection, job.name, "failed", status.detail, status.seconds)
            if job.attempt < MAX_ATTEMPTS:
                self._plans.count_on(connection, plan.row)
                self._plans.add_job(connection, plan.row, job.step)
            elif job.step == "transform":
                self._batch_finished(connection, plan, job, "failed", reason)
            else:
                self._plans.move(connection, plan.row, "failed", TrainingFailed, reason=reason, job=job.name)
                self._metrics.plans.labels("failed").inc()

        await self._database.run(note)
        self._count(plan, job, status)

    async def _fail(self, row: Row[Any], job: str, reason: str) -> None:
        log.error("plan failed", plan=row.id, reason=reason)
        await self._database.run(
            lambda connection: self._plans.move(connection, row, "failed", TrainingFailed, reason=reason[:1000], job=job)
        )
        self._metrics.plans.labels("failed").inc()
