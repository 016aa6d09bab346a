"""The detector, wired: the only place that builds adapters."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from typing import Final

import pyarrow as pa

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.aws.session import aws_client
from driftsonde.core.aws.watch import ASK_EVERY, QueueWatch
from driftsonde.core.bus import RunningBus, connect_bus
from driftsonde.core.config import Config
from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health, SystemClock, enter_or_stop, every, health_routes, serve_http, watch_stalls
from driftsonde.core.log import get_logger
from driftsonde.core.metrics import keep_showing
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox, Relay
from driftsonde.detector import store
from driftsonde.detector.attempts import Attempts
from driftsonde.detector.baselines import Baselines
from driftsonde.detector.builder import Builder
from driftsonde.detector.console.queues import INTAKE, LETTERS, queue_watch
from driftsonde.detector.console.served import Console
from driftsonde.detector.consumer import consume
from driftsonde.detector.evaluate import Evaluate
from driftsonde.detector.gauges import Gauges
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.intake import Intake
from driftsonde.detector.judge import Judge
from driftsonde.detector.leases import Leases
from driftsonde.detector.ledger import Ledger
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.pending import Pending
from driftsonde.detector.readapi import routes
from driftsonde.detector.retention import Retention
from driftsonde.detector.settings import DetectorSettings
from driftsonde.detector.timeline import TYPES, Timeline

log = get_logger(__name__)

_TIDY_SECONDS: Final = 3600.0
_FEWEST_RECEIVES: Final = 100  # ten minutes of outage take at most thirty for each replica


async def app(settings: DetectorSettings, config: Config, stop: asyncio.Event) -> None:
    """Run until `stop` is set, then drain."""
    _give_memory_back()
    clock, health, metrics = SystemClock(), Health(), DetectorMetrics()
    database = Database(settings.database_url.get_secret_value(), replicas=settings.replicas)
    await asyncio.to_thread(database.migrate, store.MIGRATIONS)
    outbox = Outbox(database, store.outbox, store.inbox, clock)
    bus = connect_bus(settings.bus_url.get_secret_value(), health=health)
    watch = queue_watch(clock)
    pages = Console(database, config, clock, watch).routes() if settings.console else []
    async with AsyncExitStack() as stack:
        stack.callback(database.close)
        await stack.enter_async_context(
            serve_http([*health_routes(health, metrics.registry), *routes(database, config), *pages], settings.host, settings.port)
        )
        s3 = await stack.enter_async_context(aws_client("s3"))
        objects = S3Objects(s3, patience=settings.read_patience.total_seconds(), owners=config.bucket_owners)
        queue = await _intake_queue(settings, metrics, stack)
        changed = asyncio.Event()
        ledger = Ledger(database, outbox, clock)
        attempts = Attempts(database, clock, probation=settings.probation)
        ingest = Ingest(database, ledger, objects, Baselines(database), attempts, metrics, clock, settings.limits)
        pending = Pending(database, config, ingest, queue.dead_letter, metrics, clock, slots=settings.slots, changed=changed.set)
        intake = Intake(
            config.monitors, ingest, queue.dead_letter, metrics, slots=settings.slots, changed=changed.set, put_off=pending.put_off
        )
        retention = Retention(database, config, clock, keep_parts=settings.keep_parts, keep_windows=settings.keep_windows)
        builder = Builder(database, outbox, objects, config, metrics, clock, health, settings.limits)
        judge = Judge(database, Evaluate(database, outbox, clock), ledger, config, metrics, clock)
        bus.subscribe("detector", TYPES, Timeline(database, builder).handle)
        relay = Relay(
            outbox, bus, clock, health, current=lambda connection: store.announced(connection, clock.now() - 2 * settings.republish_every), republish_every=settings.republish_every,
            metrics=metrics.outbox,
        )  # fmt: skip
        leases = Leases(metrics, clock)
        gauges = Gauges(database, config, metrics, clock, features=settings.metrics_features)
        show = partial(_show, metrics, health, watch, leases, relay, gauges)

        def tally(outcome: str) -> None:
            if outcome != "ok":  # drops that were taken are counted one by one by the intake
                metrics.count(outcome)

        async with asyncio.TaskGroup() as group:
            group.create_task(consume(queue, intake.handle, stop=stop, slots=settings.slots, health=health, tally=tally, watch=leases))
            group.create_task(judge.run(stop, changed, relay.wake, health))
            group.create_task(builder.run(stop, pending.wake))
            group.create_task(pending.run(stop, health))
            group.create_task(_speak(bus, relay, stop))
            group.create_task(_check_receives(queue))
            group.create_task(watch_stalls(stop, metrics.stall.set))
            group.create_task(every(_TIDY_SECONDS, lambda: _tidy(database, outbox, retention), stop))
            group.create_task(every(ASK_EVERY, lambda: watch.ask({INTAKE: queue, LETTERS: queue.letters()}), stop))
            group.create_task(keep_showing(show, stop))
            health.started()
            group.create_task(asyncio.to_thread(import_module, "scipy.special"))  # needed at the first verdict, not to be ready
            gc.freeze()  # what is loaded now stays: walking through it would stop the event loop for a tenth of a second
            log.info("ready", monitors=[monitor.name for monitor in config.monitors])
            await stop.wait()
            health.stopping()


async def _show(metrics: DetectorMetrics, health: Health, watch: QueueWatch, leases: Leases, relay: Relay, gauges: Gauges) -> None:
    """Show what is true now; what needs no database comes first."""
    metrics.service.show_health(health)
    metrics.queue.show(watch.by_state())
    leases.show()
    await relay.show()
    await gauges.refresh()


def _give_memory_back() -> None:
    """Have Arrow take the allocator that returns memory soonest: 20 MiB less at the peak than with its default."""
    with contextlib.suppress(NotImplementedError):  # not on every platform
        pa.set_memory_pool(pa.jemalloc_memory_pool())


async def _intake_queue(settings: DetectorSettings, metrics: DetectorMetrics, stack: AsyncExitStack) -> SqsQueue:
    sqs = await stack.enter_async_context(aws_client("sqs", read_timeout=settings.poll_seconds + 20))
    return SqsQueue(
        sqs,
        settings.queue_url,
        dead_letters=settings.dead_letter_url,
        lease=int(settings.lease.total_seconds()),
        wait=settings.poll_seconds,
        counters=metrics.leases,
    )


async def _check_receives(queue: SqsQueue) -> None:
    """Warn of a queue that gives messages up while an outage lasts: each is received again and again until it is over."""
    try:
        most = await queue.max_receives()
    except RetryableError as exc:
        log.warning("cannot look at the queue's redrive policy", error=str(exc))
        return
    if most is not None and most < _FEWEST_RECEIVES:
        log.warning(
            "an outage may drive good drops into the queue's own dead-letter queue; raise its maxReceiveCount to 1000",
            max_receive_count=most,
        )


async def _speak(bus: RunningBus, relay: Relay, stop: asyncio.Event) -> None:
    """Run what needs the bus; a bus that is away is waited for, and drops are judged meanwhile."""
    async with AsyncExitStack() as stack:
        if await enter_or_stop(stack, bus.running(), stop):
            await relay.run(stop)


async def _tidy(database: Database, outbox: Outbox, retention: Retention) -> None:
    try:
        await database.run(outbox.forget_old)
        await retention.tidy()
    except RetryableError as exc:
        log.warning("cannot tidy up", error=str(exc))
