"""From one message to its drops: parse, route, hand over, and say what became of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.config import Monitor
from driftsonde.core.drops import Drop, parse_notification
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Lease
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.routing import route

log = get_logger(__name__)


class Intake:
    """Handles messages of the intake queue."""

    def __init__(
        self, monitors: Sequence[Monitor], ingest: Ingest, queue: SqsQueue, metrics: DetectorMetrics, changed: Callable[[], None]
    ) -> None:
        self._monitors, self._ingest, self._queue, self._metrics = monitors, ingest, queue, metrics
        self._changed = changed

    async def handle(self, lease: Lease) -> None:
        """Take every drop of a message; the bad records of a notification are dead-lettered alone.

        Raises:
            PoisonError: if the whole message can never succeed.
            RetryableError: if something is away; what was done already is recognised when the message comes again.
        """
        with self._metrics.in_flight.track_inprogress():
            notification = parse_notification(lease.body)
            if notification.test_event:
                self._count("test_event")
            for bad in notification.bad:
                await self._queue.dead_letter(bad.record, bad.reason, bad.detail)
                self._count(bad.reason)
            rejected = [exc for drop in notification.drops if (exc := await self._drop(drop)) is not None]
            if rejected:
                raise rejected[0]

    async def _drop(self, drop: Drop) -> UnreadableObject | None:
        if drop.kind == "other":
            self._count("ignored")
            return None
        monitors = route(self._monitors, drop.bucket, drop.key)
        if not monitors:
            self._count("unmatched")
        rejected = None
        for monitor in monitors:
            with structlog.contextvars.bound_contextvars(monitor=monitor.name, drop=drop.uri):
                try:
                    outcome = await self._ingest.drop(monitor, drop)
                except UnreadableObject as exc:
                    rejected = exc
                    self._changed()
                    continue
                self._count(outcome)
                log.info("drop taken", outcome=outcome)
                self._changed()
        return rejected

    def _count(self, outcome: str) -> None:
        self._metrics.drops.labels(outcome).inc()
