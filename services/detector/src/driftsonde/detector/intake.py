"""From one message to its drops: parse, route, hand over, and say what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from driftsonde.core.config import Monitor
from driftsonde.core.drops import Drop, as_message, parse_notification
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Lease
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.routing import route

log = get_logger(__name__)

DeadLetter = Callable[[str, str, str], Awaitable[None]]
"""Stores (body, reason, detail) where people look."""


class Intake:
    """Handles messages of the intake queue."""

    def __init__(
        self, monitors: Sequence[Monitor], ingest: Ingest, dead_letter: DeadLetter, metrics: DetectorMetrics, changed: Callable[[], None]
    ) -> None:
        self._monitors, self._ingest, self._dead_letter, self._metrics = monitors, ingest, dead_letter, metrics
        self._changed = changed

    async def handle(self, lease: Lease) -> None:
        """Take every drop of a message; what is bad among several is dead-lettered alone.

        Raises:
            PoisonError: if the whole message can never succeed.
            RetryableError: if something is away; what was done already is recognised when the message comes again.
        """
        with self._metrics.in_flight.track_inprogress():
            notification = parse_notification(lease.body)
            if notification.test_event:
                self.count("test_event")
            rejected = [(drop, exc) for drop in notification.drops if (exc := await self._drop(drop, lease.deliveries)) is not None]
            # Last: a message that is released because something is away would leave them again and again.
            for bad in notification.bad:
                await self._dead_letter(bad.record, bad.reason, bad.detail)
                self.count(bad.reason)
            if len(notification.drops) + len(notification.bad) == 1 and rejected:
                raise rejected[0][1]
            for drop, exc in rejected:
                await self._dead_letter(as_message(drop), exc.reason, str(exc))
                self.count(exc.reason)

    def count(self, outcome: str) -> None:
        """Count what became of a drop."""
        self._metrics.drops.labels(outcome).inc()

    async def _drop(self, drop: Drop, deliveries: int) -> UnreadableObject | None:
        if drop.kind == "other":
            self.count("ignored")
            return None
        monitors = route(self._monitors, drop.bucket, drop.key)
        if not monitors:
            self.count("unmatched")
        rejected = None
        for monitor in monitors:
            with structlog.contextvars.bound_contextvars(monitor=monitor.name, drop=drop.uri):
                try:
                    outcome = await self._ingest.drop(monitor, drop, deliveries=deliveries)
                except UnreadableObject as exc:
                    rejected = exc
                else:
                    self.count(outcome)
                    log.info("drop taken", outcome=outcome)
                self._changed()
        return rejected
