"""Reminders: an episode that stays open is told again, each time after the channel's `remind`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from driftsonde.core.errors import PoisonError
from driftsonde.core.events import Event, Fact, parse_event
from driftsonde.core.log import get_logger
from driftsonde.core.names import digest
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.notifier.grouping import severity
from driftsonde.notifier.schema import delivery, incident
from driftsonde.notifier.silences import ALARM_TYPES, Silences

log = get_logger(__name__)


class Reminders:
    """The statements, as those of `store.Store`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock, self._silences = database, clock, Silences(database, clock)

    def queue_due(self, connection: Connection, channel: str, every: timedelta, is_told: Callable[[Fact], bool]) -> int:
        """Queue a reminder of each open episode that the channel last heard of so long ago; returns how many.

        Args:
            is_told: whether the channel would be told the episode's beginning today; the configuration may have changed.
        """
        self._database.lock(connection, f"reminders/{channel}")
        active = self._silences.active(connection)
        count = 0
        for row in connection.execute(self._due(channel, every)).all():
            self._database.lock(connection, f"group/{row.group_key}")
            body = connection.scalar(select(incident.c.alarm).where(incident.c.group_key == row.group_key))
            if body is None:  # it was closed while we waited for the lock
                continue
            try:
                event = parse_event(body.encode())
            except PoisonError as exc:  # stored by another version
                log.warning("an open episode cannot be reminded of", group=row.group_key, reason=exc.reason)
                continue
            # What is silenced is not logged again and again: the reminder is due when the silence is over.
            if is_told(event.data) and not any(one.covers(event.subject, channel) for one in active):
                values = self._row(event, channel, row.group_key, row.sent + 1)
                connection.execute(self._database.upsert(delivery, values, key=("event_id", "channel")))
                count += 1
        return count

    def _due(self, channel: str, every: timedelta) -> Any:
        """Open episodes of which nothing waits, and whose last message about their being open ended long ago, however it did."""
        about = and_(delivery.c.channel == channel, delivery.c.type.in_(ALARM_TYPES), delivery.c.state.not_in(("stale", "folded")))
        waits = func.sum(case((delivery.c.state.in_(("pending", "silenced")), 1), else_=0))
        return (
            select(incident.c.group_key, func.count(delivery.c.reminder).label("sent"))
            .join(delivery, delivery.c.group_key == incident.c.group_key)
            .where(incident.c.state == "open", incident.c.alarm.is_not(None), about)
            .group_by(incident.c.group_key)
            .having(and_(waits == 0, func.max(delivery.c.finished_at) <= self._clock.now() - every))
        )

    def _row(self, event: Event, channel: str, group: str, number: int) -> dict[str, Any]:
        now = self._clock.now()
        return {
            # Of the same number on every replica.
            "event_id": digest(event.id, "reminder", number), "channel": channel, "monitor": event.subject,
            "episode": event.data.episode, "group_key": group, "body": event.to_json().decode(), "state": "pending",
            "attempts": 0, "detail": "", "created_at": now, "due_at": now, "type": event.data.TYPE,
            "severity": severity(event.data), "reminder": number,
        }  # fmt: skip
