"""The retrainer, wired: the only place that builds adapters."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.aws.session import aws_client
from driftsonde.core.aws.watch import ASK_EVERY, QueueWatch
from driftsonde.core.bus import connect_bus
from driftsonde.core.config import Config, StateMachineRun
from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health, SystemClock, enter_or_stop, every, health_routes, serve_http
from driftsonde.core.log import get_logger
from driftsonde.core.metrics import keep_showing
from driftsonde.core.ports import Executions
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox, Relay
from driftsonde.retrainer import store
from driftsonde.retrainer.approvals import Approvals, Links
from driftsonde.retrainer.approvals import routes as approval_routes
from driftsonde.retrainer.deploy.http import routes as rollback_routes
from driftsonde.retrainer.executions import PipelineExecutions, StateMachineExecutions
from driftsonde.retrainer.gauges import Gauges
from driftsonde.retrainer.handlers import TYPES, Handlers
from driftsonde.retrainer.jobstates import listen
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans
from driftsonde.retrainer.sagemaker import SageMaker, SageMakerEndpoints, default_image
from driftsonde.retrainer.settings import RetrainerSettings
from driftsonde.retrainer.watcher import Watcher

log = get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
_TIDY_SECONDS = 3600.0
_JOB_STATES = "job_states"


async def app(settings: RetrainerSettings, config: Config, stop: asyncio.Event) -> None:
    """Run until `stop` is set, then drain."""
    clock, health, metrics = SystemClock(), Health(), RetrainerMetrics(config.budget.currency)
    database = Database(settings.database_url.get_secret_value(), replicas=settings.replicas)
    await asyncio.to_thread(database.migrate, MIGRATIONS)
    uuid = await database.run(store.store_uuid, database)
    outbox = Outbox(database, store.outbox, store.inbox, clock)
    bus = connect_bus(settings.bus_url.get_secret_value(), health=health)
    changed = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(database.close)
        links = Links(settings.public_url, settings.approval_secret.get_secret_value())
        asked = approval_routes(Approvals(database, clock), links, clock, settings.api_token.get_secret_value(), changed.set)
        asked += rollback_routes(database, config, clock, settings.api_token.get_secret_value(), changed.set)
        await stack.enter_async_context(serve_http([*health_routes(health, metrics.registry), *asked], settings.host, settings.port))
        objects = S3Objects(await stack.enter_async_context(aws_client("s3")), owners=config.bucket_owners)
        sagemaker = await stack.enter_async_context(aws_client("sagemaker"))
        jobs, endpoints = SageMaker(sagemaker), SageMakerEndpoints(sagemaker)
        executions: dict[str, Executions] = {"pipeline": PipelineExecutions(sagemaker)}
        if any(isinstance(recipe.run, StateMachineRun) for recipe in config.recipes.values()):
            executions["state-machine"] = StateMachineExecutions(await stack.enter_async_context(aws_client("stepfunctions")))
        plans = Plans(database, outbox, config, clock, metrics, settings.deployment, uuid, links.make)
        watcher = Watcher(
            database,
            plans,
            jobs,
            endpoints,
            objects,
            clock,
            metrics,
            image=lambda: default_image(os.environ.get("AWS_REGION", "us-east-1")),
            executions=executions,
        )
        bus.subscribe("retrainer", TYPES, Handlers(database, outbox, clock, changed.set).handle)
        relay = Relay(
            outbox, bus, clock, health, current=store.open_plan_events, republish_every=settings.republish_every,
            metrics=metrics.outbox,
        )  # fmt: skip
        gauges, watch = Gauges(database, config, metrics, clock), QueueWatch(clock, {_JOB_STATES: False} if settings.job_states_url else {})

        async def show() -> None:
            metrics.service.show_health(health)
            metrics.queue.show(watch.by_state())
            await relay.show()
            await gauges.refresh()

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_showing(show, stop))  # also while the bus is away
            if not await enter_or_stop(stack, bus.running(), stop):
                return
            group.create_task(watcher.run(stop, changed, health, settings.poll_jobs_seconds, relay.wake))
            group.create_task(relay.run(stop))
            group.create_task(every(_TIDY_SECONDS, lambda: _tidy(database, outbox), stop))
            if settings.job_states_url:
                sqs = await stack.enter_async_context(aws_client("sqs", read_timeout=settings.poll_seconds + 20))
                states = SqsQueue(sqs, settings.job_states_url, wait=settings.poll_seconds)
                group.create_task(listen(states, stop, health, changed.set))
                group.create_task(every(ASK_EVERY, lambda: watch.ask({_JOB_STATES: states}), stop))
            health.started()
            log.info("ready", monitors=[monitor.name for monitor in config.monitors if monitor.retrain])
            await stop.wait()
            health.stopping()


async def _tidy(database: Database, outbox: Outbox) -> None:
    try:
        await database.run(outbox.forget_old)
    except RetryableError as exc:
        log.warning("cannot tidy up", error=str(exc))
