"""What the retrainer does when it hears an event: write it down. The watcher acts on what is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from driftsonde.core.events import DataUntrusted, DriftConfirmed, DriftDetected, DriftResolved, DropRejected, Event
from driftsonde.core.ports import Clock, Outcome
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.retrainer import store
from driftsonde.retrainer.decision import of_untrusted
from driftsonde.retrainer.plans import note_decision

TYPES: Final = (DriftDetected.TYPE, DataUntrusted.TYPE, DriftConfirmed.TYPE, DriftResolved.TYPE, DropRejected.TYPE)


class Handlers:
    """Takes each event once, in one transaction."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock, changed: Callable[[], None]) -> None:
        self._database, self._outbox, self._clock, self._changed = database, outbox, clock, changed

    async def handle(self, event: Event) -> Outcome:
        """Take one event; a repeat changes nothing."""
        outcome = await self._database.run(self._take, event)
        self._changed()
        return outcome

    def _take(self, connection: Connection, event: Event) -> Outcome:
        if not self._outbox.first_time(connection, event):
            return "duplicate"
        match event.data:
            case DriftDetected(episode=int(episode)):
                now = self._clock.now()
                values = {
                    "id": f"{event.subject}-{episode}", "monitor": event.subject, "episode": episode, "state": "proposed", "reason": "",
                    "sequence": 0, "event": event.to_json().decode(), "created_at": now, "updated_at": now,
                }  # fmt: skip
                connection.execute(self._database.upsert(store.plan, values, key=("monitor", "episode")))
                return "proposed"
            case DataUntrusted(episode=int(episode)):
                mine = {"monitor": event.subject, "episode": episode}
                connection.execute(self._database.upsert(store.untrusted, mine, key=("monitor", "episode")))
                decided = of_untrusted(event.data)
                note_decision(self._database, self._outbox, connection, decided, self._clock.now(), event.traceparent)
                return "untrusted"
            case DriftConfirmed(episode=int(episode)):
                mine = {"monitor": event.subject, "episode": episode}
                connection.execute(self._database.upsert(store.confirmed, mine, key=("monitor", "episode")))
                return "confirmed"
            case DropRejected():
                latest = {"monitor": event.subject, "at": event.time}
                connection.execute(self._database.upsert(store.unreadable, latest, key=("monitor",), update=("at",)))
                return "unreadable"
            case DriftResolved(episode=int(episode)):
                mine = {"monitor": event.subject, "episode": episode}
                connection.execute(self._database.upsert(store.episode_end, mine, key=("monitor", "episode")))
                table = store.untrusted
                connection.execute(table.delete().where(table.c.monitor == event.subject, table.c.episode == episode))
                return "closed"
        return "ignored"
