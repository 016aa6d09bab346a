"""Wires the notifier: the only place that builds adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from driftsonde.core.bus import RunningBus, connect_bus
from driftsonde.core.config import Config
from driftsonde.core.errors import RetryableError
from driftsonde.core.events import Event
from driftsonde.core.lifecycle import Health, SystemClock, enter_or_stop, every, health_routes, serve_http
from driftsonde.core.log import get_logger
from driftsonde.core.metrics import keep_showing
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox, Relay
from driftsonde.notifier import api
from driftsonde.notifier import schema as tables
from driftsonde.notifier.channels import open_channels
from driftsonde.notifier.deliveries import ChannelQueue
from driftsonde.notifier.grouping import Recorded, check_events
from driftsonde.notifier.handlers import Handlers
from driftsonde.notifier.metrics import NotifierMetrics
from driftsonde.notifier.reminders import Reminders
from driftsonde.notifier.rounds import EVERY_SECONDS, Rounds
from driftsonde.notifier.settings import NotifierSettings
from driftsonde.notifier.silences import Silences
from driftsonde.notifier.store import Store, no_current

log = get_logger(__name__)
_TIDY_EVERY: Final = timedelta(hours=1)


async def app(settings: NotifierSettings, config: Config, stop: asyncio.Event) -> None:
    """Run the notifier until `stop` is set: finish the tries that have begun, leave the rest to the next start."""
    check_events(config)
    clock, health, metrics = SystemClock(), Health(), NotifierMetrics(config.channels)
    async with AsyncExitStack() as stack:
        links = await open_channels(config.channels, clock, stack)
        database = Database(settings.database_url.get_secret_value(), replicas=settings.replicas)
        stack.callback(database.close)
        await asyncio.to_thread(database.migrate, tables.MIGRATIONS)
        outbox = Outbox(database, tables.outbox, tables.inbox, clock)
        store, silences = Store(database, outbox, clock), Silences(database, clock)
        bus = connect_bus(settings.bus_url.get_secret_value(), health=health)
        relay = Relay(
            outbox, bus, clock, health, current=no_current, republish_every=settings.republish_every,
            metrics=metrics.outbox,
        )  # fmt: skip
        queues = {
            link.name: ChannelQueue(link, store, database, clock, health, metrics, announced=relay.wake) for link in links
        }  # fmt: skip

        async def record(event: Event, channels: Sequence[str]) -> Recorded:
            return await database.run(store.record, event, channels)

        async def tidy() -> None:
            try:
                await database.run(store.tidy, tuple(config.channels))
            except RetryableError as exc:
                log.warning("cannot tidy up", error=str(exc))

        async def show() -> None:
            metrics.service.show_health(health)
            await relay.show()
            metrics.service.read_at.set(clock.now().timestamp())

        def queued(channels: Collection[str]) -> None:
            for name in channels:
                queues[name].wake()

        Handlers(config, record, queued, metrics).register(bus)
        rounds = Rounds(config, database, silences, Reminders(database, clock), health, metrics, queued)
        routes = [*health_routes(health, metrics.registry), *api.routes(silences, database, config, settings.api_token.get_secret_value())]
        port = await stack.enter_async_context(serve_http(routes, settings.host, settings.port))
        log.info("started", port=port, channels=sorted(queues))
        async with asyncio.TaskGroup() as group:
            group.create_task(_consume(bus, relay, health, stop))
            group.create_task(every(_TIDY_EVERY.total_seconds(), tidy, stop))
            group.create_task(every(EVERY_SECONDS, rounds, stop))
            group.create_task(keep_showing(show, stop))
            for queue in queues.values():
                group.create_task(queue.run(stop))


async def _consume(bus: RunningBus, relay: Relay, health: Health, stop: asyncio.Event) -> None:
    """Run what needs the bus; a bus that is away is waited for, and messages go out meanwhile."""
    async with AsyncExitStack() as stack:
        if not await enter_or_stop(stack, bus.running(), stop):
            return
        health.started()
        await relay.run(stop)
        health.stopping()
