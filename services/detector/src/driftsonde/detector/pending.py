"""Drops that came before their monitor had a baseline: read once it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import Connection, select

from driftsonde.core.config import Config, Monitor
from driftsonde.core.drops import Drop, as_message
from driftsonde.core.errors import RetryableError, UnreadableObject
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.intake import DeadLetter

log = get_logger(__name__)

_BATCH = 100
_SWEEP_SECONDS = 5.0


class Pending:
    """Looks now and then: another replica may have adopted the baseline, or noted a drop just when it was adopted."""

    def __init__(self, database: Database, config: Config, ingest: Ingest, dead_letter: DeadLetter, count: Callable[[str], None]) -> None:
        self._database, self._config, self._ingest = database, config, ingest
        self._dead_letter, self._count = dead_letter, count

    async def run(self, stop: asyncio.Event, adopted: asyncio.Event, changed: Callable[[], None], health: Health) -> None:
        """Take what can be taken until `stop` is set: at once after each adoption, else every few seconds."""
        while not stop.is_set():
            health.beat("pending")
            adopted.clear()
            try:
                while await self.take() and not stop.is_set():
                    health.beat("pending")
                    changed()
            except RetryableError as exc:
                log.warning("cannot read pending drops now", error=str(exc))
            await wait_or_stop(stop, _SWEEP_SECONDS, adopted)

    async def take(self) -> int:
        """Read some pending drops of the monitors that have a baseline; returns how many."""
        taken = 0
        for monitor in self._config.monitors:
            for drop in await self._database.look(_pending, monitor.name):
                self._count(await self._one(monitor, drop))
                taken += 1
        return taken

    async def _one(self, monitor: Monitor, drop: Drop) -> str:
        # Its message was settled long ago: nothing would come again after a crash, so the dead letter is stored first.
        try:
            return await self._ingest.drop(
                monitor, drop, before_reject=lambda exc: self._dead_letter(as_message(drop), exc.reason, str(exc))
            )
        except UnreadableObject as exc:
            return exc.reason


def _pending(connection: Connection, monitor: str) -> list[Drop]:
    table = store.object_
    rows = connection.execute(
        select(table).where(table.c.outcome == "pending", table.c.monitor == monitor).order_by(table.c.event_time).limit(_BATCH)
    ).all()
    if not rows or store.current_baseline(connection, monitor) is None:
        return []
    return [Drop("created", row.bucket, row.key, row.event_time, row.size, row.etag, row.version, row.sequencer) for row in rows]
