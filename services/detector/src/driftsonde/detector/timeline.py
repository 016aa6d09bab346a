"""Everything that happened, as the detector hears it on the bus: what people read is read from here."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from driftsonde.core.events import FACTS, ApprovalRequested, Event, ModelPromoted
from driftsonde.core.ports import Outcome
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.builder import Builder

TYPES: Final = tuple(FACTS)
"""The timeline hears everything, its own events included: so it shows what was published, not what was meant to be."""


class Timeline:
    """Stores each event once; a promoted model also asks for its baseline."""

    def __init__(self, database: Database, builder: Builder) -> None:
        self._database, self._builder = database, builder

    async def handle(self, event: Event) -> Outcome:
        """Take one event; a repeat changes nothing."""
        return await self._database.run(self._store, event)

    def _store(self, connection: Connection, event: Event) -> Outcome:
        values = {
            "event_id": event.id, "monitor": event.subject, "episode": event.data.episode, "type": event.data.TYPE, "at": event.time,
            "body": _readable(event).to_json().decode(),
        }  # fmt: skip
        # The timeline is kept for ever, so it is its own inbox: an episode that stays open for months is heard hourly.
        insert = self._database.upsert(store.timeline, values, key=("event_id",)).returning(store.timeline.c.id)
        if connection.execute(insert).first() is None:
            return "duplicate"
        if isinstance(event.data, ModelPromoted):
            self._builder.request(connection, event.data)
        return "stored"


def _readable(event: Event) -> Event:
    """Return an event as whoever reaches the read API may see it: who has the link of a question can answer it."""
    if isinstance(event.data, ApprovalRequested):
        return event.model_copy(update={"data": event.data.model_copy(update={"link": None})})
    return event
