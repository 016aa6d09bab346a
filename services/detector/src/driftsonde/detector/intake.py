"""From one message to its drops: parse, route, hand over, and say what became of each."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

import structlog

from driftsonde.core import tracing
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


class Shares:
    """How many drops of one monitor are read at the same time: of several monitors none has more than a quarter of the slots.

    What goes beyond is remembered in the store and read in turn (`Pending`), so that its messages do not keep those of other
    monitors waiting behind them.
    """

    def __init__(self, monitors: Sequence[Monitor], slots: int) -> None:
        self._most = slots if len(monitors) == 1 else max(1, slots // 4)
        self._inside: Counter[str] = Counter()

    @contextlib.contextmanager
    def take(self, monitor: str) -> Iterator[bool]:
        """Say whether a drop of a monitor may be read now; its place is kept until the block ends."""
        if self._inside[monitor] >= self._most:
            yield False
            return
        self._inside[monitor] += 1
        try:
            yield True
        finally:
            self._inside[monitor] -= 1


class Intake:
    """Handles messages of the intake queue.

    Args:
        slots: drops that are read at the same time.
        changed: called after each drop.
        put_off: called when drops wait to be read in turn.
    """

    def __init__(
        self, monitors: Sequence[Monitor], ingest: Ingest, dead_letter: DeadLetter, metrics: DetectorMetrics, *, slots: int,
        changed: Callable[[], None], put_off: Callable[[], None],
    ) -> None:  # fmt: skip
        self._monitors, self._ingest, self._dead_letter, self._metrics = monitors, ingest, dead_letter, metrics
        self._shares, self._changed, self._put_off = Shares(monitors, slots), changed, put_off

    async def handle(self, lease: Lease) -> None:
        """Take every drop of a message; what is bad among several is dead-lettered alone.

        Raises:
            PoisonError: if the whole message can never succeed.
            RetryableError: if something is away; what was done already is recognised when the message comes again.
        """
        with self._metrics.in_flight.track_inprogress():
            notification = parse_notification(lease.body)
            if notification.test_event:
                self._metrics.count("test_event")
            rejected = [(drop, exc) for drop in notification.drops if (exc := await self._traced(drop, lease)) is not None]
            # Last: a message that is released because something is away would leave them again and again.
            for bad in notification.bad:
                await self._dead_letter(bad.record, bad.reason, bad.detail)
                self._metrics.count(bad.reason)
            if len(notification.drops) + len(notification.bad) == 1 and rejected:
                raise rejected[0][1]
            for drop, exc in rejected:
                await self._dead_letter(as_message(drop), exc.reason, str(exc))
                self._metrics.count(exc.reason)

    async def _traced(self, drop: Drop, lease: Lease) -> UnreadableObject | None:
        """Take a drop as a part of its message's trace, or as the beginning of its own: S3's events have none."""
        with tracing.span("drop", lease.traceparent, kind=drop.kind):
            return await self._drop(drop, lease.deliveries)

    async def _drop(self, drop: Drop, deliveries: int) -> UnreadableObject | None:
        if drop.kind == "other":
            self._metrics.count("ignored")
            return None
        monitors = route(self._monitors, drop.bucket, drop.key)
        if not monitors:
            self._metrics.count("unmatched")
        rejected = None
        for monitor in monitors:
            with structlog.contextvars.bound_contextvars(monitor=monitor.name, drop=drop.uri):
                try:
                    with self._shares.take(monitor.name) as now:
                        outcome = await self._ingest.drop(monitor, drop, deliveries=deliveries, later=not now)
                except UnreadableObject as exc:
                    rejected = exc
                else:
                    self._metrics.count(outcome)
                    log.info("drop taken", outcome=outcome)
                    if outcome == "pending":
                        self._put_off()
                self._changed()
        return rejected
