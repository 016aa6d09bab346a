"""Events are stored with the state they announce and published afterwards, so neither can be lost without the other.

The inbox is the other end: the ids of events already handled, written in the transaction of their effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Row, String, Table, Text, func, select, update

from driftsonde.core import tracing
from driftsonde.core.errors import RetryableError
from driftsonde.core.events import Event, Fact, parse_event
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.metrics import OutboxMetrics
from driftsonde.core.ports import Bus, Clock
from driftsonde.core.store.engine import Database, UtcDateTime

log = get_logger(__name__)
_BATCH = 200
_POLL_SECONDS = 1.0
INBOX_KEPT = timedelta(days=30)


def outbox_table(metadata: MetaData) -> Table:
    """Declare the outbox in a service's schema."""
    return Table(
        "outbox", metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("event_id", String(32), nullable=False, unique=True),
        Column("monitor", String(32), nullable=False),
        Column("body", Text, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("published_at", UtcDateTime),
        Column("attempt", Integer, nullable=False, default=0),
        Index("outbox_unpublished", "published_at", "id"),
    )  # fmt: skip


def inbox_table(metadata: MetaData) -> Table:
    """Declare the inbox in a service's schema."""
    return Table(
        "inbox", metadata,
        Column("event_id", String(32), primary_key=True),
        Column("handled_at", UtcDateTime, nullable=False, index=True),
    )  # fmt: skip


class Outbox:
    """Writes facts into a service's outbox, and remembers handled events in its inbox."""

    def __init__(self, database: Database, outbox: Table, inbox: Table, clock: Clock) -> None:
        self.database = database
        self.table = outbox
        self._inbox = inbox
        self._clock = clock

    def add(self, connection: Connection, facts: Iterable[Fact], *, traceparent: str | None = None) -> list[str]:
        """Store facts in the caller's transaction; returns their event ids. A fact that is already there is left as it was.

        Args:
            traceparent: the trace that they belong to; default: that of the caller.
        """
        ids = []
        for fact in facts:
            event = Event.of(fact, time=self._clock.now(), traceparent=traceparent or tracing.current())
            values = {
                "event_id": event.id, "monitor": event.subject, "body": event.to_json().decode(),
                "created_at": event.time, "attempt": 0,
            }  # fmt: skip
            connection.execute(self.database.upsert(self.table, values, key=("event_id",)))
            ids.append(event.id)
        return ids

    def first_time(self, connection: Connection, event: Event) -> bool:
        """Note that `event` is handled in the caller's transaction; False when it was handled before."""
        values = {"event_id": event.id, "handled_at": self._clock.now()}
        insert = self.database.upsert(self._inbox, values, key=("event_id",)).returning(self._inbox.c.event_id)
        # RETURNING, not rowcount: psycopg answers -1 for an insert, whether or not there was a conflict.
        return connection.execute(insert).first() is not None

    def publish_again(self, connection: Connection, since: datetime, monitor: str | None = None) -> int:
        """Have what was announced since a time published again; returns how many events. Consumers know them by their ids."""
        again = update(self.table).where(self.table.c.created_at >= since, self.table.c.published_at.is_not(None))
        if monitor is not None:
            again = again.where(self.table.c.monitor == monitor)
        return len(connection.execute(again.values(published_at=None, attempt=self.table.c.attempt + 1).returning(self.table.c.id)).all())

    def forget_old(self, connection: Connection) -> None:
        """Delete what is older than any broker keeps."""
        horizon = self._clock.now() - INBOX_KEPT
        connection.execute(self._inbox.delete().where(self._inbox.c.handled_at < horizon))
        connection.execute(self.table.delete().where(self.table.c.published_at < horizon))


class Relay:
    """Publishes what the outbox holds, in order per monitor, and again what a forgetful broker must not lose.

    Args:
        outbox: the service's outbox.
        bus: where to.
        current: selects the event ids that are published again every `republish_every` (open episodes, open plans).
        metrics: count publications, and show how many events wait and for how long the oldest has.
    """

    def __init__(
        self, outbox: Outbox, bus: Bus, clock: Clock, health: Health, *,
        current: Callable[[Connection], Sequence[str]], republish_every: timedelta, metrics: OutboxMetrics,
    ) -> None:  # fmt: skip
        self._outbox, self._bus, self._clock, self._health = outbox, bus, clock, health
        self._current, self._every = current, republish_every
        self._metrics = metrics
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say that a transaction added something."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set; a broker that is away is tried again for ever."""
        while not stop.is_set():
            self._health.beat("relay")
            self._wake.clear()
            try:
                await self._outbox.database.run(self._rearm)
                more = await self.publish_once()
                self._health.report("relay", None)
            except RetryableError as exc:
                self._health.report("relay", str(exc))
                log.warning("cannot publish", error=str(exc))
                await wait_or_stop(stop, exc.retry_after)
                continue
            if not more:
                await wait_or_stop(stop, _POLL_SECONDS, self._wake)

    async def publish_once(self) -> bool:
        """Publish one batch; True when there may be more.

        Selects by "unpublished", never by "id greater than the last": transactions commit out of id order.
        """
        await self.show()  # also while the broker is away, when it matters
        rows = await self._outbox.database.look(self._unpublished)
        for row in rows:
            event, began = parse_event(row.body.encode()), time.monotonic()
            # An event of no trace, of another version, does not begin one here.
            with tracing.span("publish", event.traceparent, type=event.type) if event.traceparent else contextlib.nullcontext():
                try:
                    await self._bus.publish(event, attempt=row.attempt)
                finally:
                    self._metrics.took.observe(time.monotonic() - began, tracing.exemplar(event.traceparent))
            await self._outbox.database.run(self._mark, row.id, row.attempt)
            self._metrics.published.inc()
        await self.show()
        return len(rows) == _BATCH

    async def show(self) -> None:
        """Show how much waits; also called by those who do not publish, for the bus may never have been there.

        Raises:
            RetryableError: when the database is away.
        """
        waiting, oldest = await self._outbox.database.look(self._waiting)
        self._metrics.waiting.set(waiting)
        self._metrics.age.set((self._clock.now() - oldest).total_seconds() if oldest else 0.0)

    def _unpublished(self, connection: Connection) -> Sequence[Row[Any]]:
        table = self._outbox.table
        return connection.execute(select(table).where(table.c.published_at.is_(None)).order_by(table.c.id).limit(_BATCH)).all()

    def _waiting(self, connection: Connection) -> tuple[int, datetime | None]:
        table = self._outbox.table
        waiting = select(func.count(), func.min(table.c.created_at)).where(table.c.published_at.is_(None), table.c.attempt == 0)
        return tuple(connection.execute(waiting).one())

    def _mark(self, connection: Connection, row_id: int, attempt: int) -> None:
        table = self._outbox.table
        connection.execute(update(table).where(table.c.id == row_id, table.c.attempt == attempt).values(published_at=self._clock.now()))

    def _rearm(self, connection: Connection) -> None:
        table = self._outbox.table
        overdue = self._clock.now() - self._every
        connection.execute(
            update(table)
            .where(table.c.event_id.in_(self._current(connection)), table.c.published_at < overdue)
            .values(published_at=None, attempt=table.c.attempt + 1)
        )
