"""The detector, wired: the only place that builds adapters."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.aws.session import aws_client
from driftsonde.core.bus import connect_bus
from driftsonde.core.config import Config, Monitor
from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health, SystemClock, health_routes, serve_http, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox, Relay
from driftsonde.detector import store
from driftsonde.detector.baselines import Baselines, Builder, take_pending
from driftsonde.detector.consumer import consume
from driftsonde.detector.evaluate import Evaluate
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.intake import Intake
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.readapi import routes
from driftsonde.detector.settings import DetectorSettings
from driftsonde.detector.timeline import TYPES, Timeline

log = get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
_SWEEP_SECONDS = 1.0


async def app(settings: DetectorSettings, config: Config, stop: asyncio.Event) -> None:
    """Run until `stop` is set, then drain."""
    clock, health, metrics = SystemClock(), Health(), DetectorMetrics()
    database = Database(settings.database_url.get_secret_value(), replicas=settings.replicas)
    await asyncio.to_thread(database.migrate, MIGRATIONS)
    outbox = Outbox(database, store.outbox, store.inbox, clock)
    bus = connect_bus(settings.bus_url.get_secret_value(), health=health)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(database.close)
        await stack.enter_async_context(
            serve_http([*health_routes(health, metrics.registry), *routes(database, config)], settings.host, settings.port)
        )
        objects = S3Objects(await stack.enter_async_context(aws_client("s3")))
        sqs = await stack.enter_async_context(aws_client("sqs", read_timeout=settings.poll_seconds + 20))
        queue = SqsQueue(
            sqs,
            settings.queue_url,
            dead_letters=settings.dead_letter_url,
            lease=int(settings.lease.total_seconds()),
            wait=settings.poll_seconds,
        )
        baselines, changed, adopted = Baselines(database), asyncio.Event(), asyncio.Event()
        builder = Builder(database, outbox, objects, config, clock, health)
        ingest = Ingest(database, outbox, objects, baselines, clock, metrics)
        intake = Intake(config.monitors, ingest, queue, metrics, changed.set)
        bus.subscribe("detector", TYPES, Timeline(database, outbox, builder).handle)
        relay = Relay(
            outbox, bus, clock, health, current=store.open_episode_events, republish_every=settings.republish_every,
            published=metrics.published, depth=metrics.outbox,
        )  # fmt: skip
        judge = Judge(database, Evaluate(database, outbox, clock), config, metrics, clock, health)
        await stack.enter_async_context(bus.running())
        adopted.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                consume(
                    queue, intake.handle, stop=stop, slots=settings.slots, health=health, tally=lambda outcome: _tally(metrics, outcome)
                )
            )
            group.create_task(judge.run(stop, changed, relay.wake))
            group.create_task(builder.run(stop, adopted))
            group.create_task(_pending(database, config, ingest, queue, adopted, changed, stop))
            group.create_task(relay.run(stop))
            health.started()
            log.info("ready", monitors=[monitor.name for monitor in config.monitors])
            await stop.wait()
            health.stopping()


class Judge:
    """Evaluates monitors when something changed, and now and then because time passes."""

    def __init__(
        self, database: Database, evaluate: Evaluate, config: Config, metrics: DetectorMetrics, clock: SystemClock, health: Health
    ) -> None:
        self._database, self._evaluate, self._config = database, evaluate, config
        self._metrics, self._clock, self._health = metrics, clock, health

    async def run(self, stop: asyncio.Event, changed: asyncio.Event, wake: object) -> None:
        """Sweep all monitors at each change and every second until `stop` is set, and once more after it."""
        while True:
            self._health.beat("judge")
            changed.clear()
            last = stop.is_set()
            for monitor in self._config.monitors:
                try:
                    await self._one(monitor)
                except RetryableError as exc:
                    log.warning("cannot judge now", monitor=monitor.name, error=str(exc))
            if callable(wake):
                wake()
            if last:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _SWEEP_SECONDS)

    async def _one(self, monitor: Monitor) -> None:
        with self._metrics.stage.labels("evaluate").time():
            done = await self._database.run(self._evaluate, monitor)
        for word in done.verdicts:
            self._metrics.verdicts.labels(word).inc()
        for kind in done.opened:
            self._metrics.episodes.labels(kind).inc()
            log.info("episode opened", monitor=monitor.name, kind=kind)
        now = self._clock.now()
        for first in done.first_drops:
            self._metrics.latency.observe(max(0.0, (now - first).total_seconds()))


async def _pending(
    database: Database, config: Config, ingest: Ingest, queue: SqsQueue, adopted: asyncio.Event, changed: asyncio.Event, stop: asyncio.Event
) -> None:
    """Read the drops that came before their baseline, after each adoption and after a start."""
    while not stop.is_set():
        if adopted.is_set():
            adopted.clear()
            try:
                if await take_pending(database, config, ingest.drop, queue.dead_letter):
                    changed.set()
            except RetryableError as exc:
                log.warning("cannot read pending drops now", error=str(exc))
                adopted.set()
        await wait_or_stop(stop, _SWEEP_SECONDS)


def _tally(metrics: DetectorMetrics, outcome: str) -> None:
    """Count what ended a message; drops that were taken are counted one by one by the intake."""
    if outcome != "ok":
        metrics.drops.labels(outcome).inc()
