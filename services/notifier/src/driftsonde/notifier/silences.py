"""Silences: a monitor that people know about is not told for a while, on one channel or on all.

What is silenced is logged as `silenced`. When no silence covers it any more, the beginning of an episode that is still open is
told, and so is the end of an episode whose beginning was told before; everything else is left untold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, exists, or_, select, update

from driftsonde.core.events import DataUntrusted, DriftDetected, DriftResolved
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.notifier.schema import delivery, incident, silence

LONGEST: Final = timedelta(days=90)
REASON_CHARS: Final = 200
ALARM_TYPES: Final = (DriftDetected.TYPE, DataUntrusted.TYPE)
_LATER: Final = (*ALARM_TYPES, DriftResolved.TYPE)


class Silence(NamedTuple):
    """A stored silence; `channel` None: of every channel."""

    id: int
    monitor: str
    channel: str | None
    reason: str
    created_at: datetime
    until: datetime

    def covers(self, monitor: str, channel: str) -> bool:
        """Tell whether a monitor is silenced on a channel."""
        return self.monitor == monitor and self.channel in (None, channel)


class Silences:
    """The statements, as those of `store.Store`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def begin(self, connection: Connection, monitor: str, channel: str | None, length: timedelta, reason: str) -> Silence:
        """Silence a monitor from now on; what waits to be sent about it is silenced too, but not what is being sent."""
        self._database.lock(connection, f"silence/{monitor}")
        now = self._clock.now()
        values = {
            "monitor": monitor, "channel": channel, "reason": reason[:REASON_CHARS], "created_at": now, "until": now + min(length, LONGEST),
        }  # fmt: skip
        row = connection.execute(silence.insert().values(values).returning(silence)).one()
        free = or_(delivery.c.claimed_until.is_(None), delivery.c.claimed_until <= now)
        waits = and_(delivery.c.monitor == monitor, delivery.c.state == "pending", free)
        if channel is not None:
            waits = and_(waits, delivery.c.channel == channel)
        silenced = {"state": "silenced", "finished_at": now, "hold_until": None}
        connection.execute(update(delivery).where(waits, delivery.c.type.in_(_LATER)).values(silenced))
        connection.execute(update(delivery).where(waits).values({**silenced, "body": None}))
        return Silence(*row)

    def end(self, connection: Connection, number: int) -> bool:
        """End a silence now; False when there is none of that number, or it is over."""
        now = self._clock.now()
        over = update(silence).where(silence.c.id == number, silence.c.until > now).values(until=now).returning(silence.c.id)
        return connection.execute(over).first() is not None

    def active(self, connection: Connection) -> list[Silence]:
        """Return the silences that are not over, the one that ends first first."""
        now = self._clock.now()
        return [Silence(*row) for row in connection.execute(select(silence).where(silence.c.until > now).order_by(silence.c.until))]

    def silenced(self, connection: Connection, monitor: str, channels: Sequence[str]) -> set[str]:
        """Return those of the channels on which a monitor is silenced."""
        active = self.active(connection)
        return {channel for channel in channels if any(one.covers(monitor, channel) for one in active)}

    def release(self, connection: Connection, channels: Collection[str]) -> set[str]:
        """Settle what no silence covers any more; returns the channels that have something to send again."""
        active, now, queued = self.active(connection), self._clock.now(), set()
        kept = and_(delivery.c.state == "silenced", delivery.c.body.is_not(None), delivery.c.channel.in_(channels))
        for row in connection.execute(select(delivery).where(kept).order_by(delivery.c.id)).all():
            if any(one.covers(row.monitor, row.channel) for one in active):
                continue
            self._database.lock(connection, f"group/{row.group_key}")  # nobody ends the episode meanwhile
            values: dict[str, Any] = {"body": None}
            if self._still_matters(connection, row.type, row.group_key, row.channel):
                # It begins to wait now: it is tried for as long as what is new.
                values = {"state": "pending", "attempts": 0, "created_at": now, "due_at": now, "finished_at": None}
            # Checked again: another replica may have settled it while we waited for the lock.
            if connection.execute(update(delivery).where(kept, delivery.c.id == row.id).values(values)).rowcount and "state" in values:
                queued.add(row.channel)
        return queued

    def _still_matters(self, connection: Connection, type_: str | None, group: str, channel: str) -> bool:
        if type_ in ALARM_TYPES:
            return bool(connection.scalar(select(exists().where(incident.c.group_key == group, incident.c.state == "open"))))
        told = and_(delivery.c.group_key == group, delivery.c.channel == channel, delivery.c.type.in_(ALARM_TYPES))
        return bool(connection.scalar(select(exists().where(told, delivery.c.state.in_(("delivered", "pending"))))))
