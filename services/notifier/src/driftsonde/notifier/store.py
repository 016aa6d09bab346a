"""The notifier's tables and statements: incidents, the delivery log, outbox and inbox.

A delivery is `pending` until it ends as `delivered`, `refused` or `expired`; `stale` and `folded` ones are only logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    exists,
    func,
    or_,
    select,
    update,
)

from driftsonde.core.events import DeliveryFinished, Event
from driftsonde.core.ports import Clock, Outcome
from driftsonde.core.store.engine import Database, UtcDateTime
from driftsonde.core.store.outbox import INBOX_KEPT, Outbox, inbox_table, outbox_table
from driftsonde.notifier.grouping import Incident, folding, group_key

MIGRATIONS: Final = Path(__file__).parent / "migrations"
LEASE: Final = timedelta(seconds=60)
"""How long a claim keeps other replicas away; longer than any try takes."""
GIVE_UP: Final = timedelta(hours=24)
MAX_DELAY: Final = timedelta(minutes=15)
"""No try is put off for longer, whatever the other side asks for."""

metadata = MetaData()
incident = Table(
    "incident", metadata,
    Column("group_key", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("detector_sequence", Integer, nullable=False),
    Column("retrainer_sequence", Integer, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)  # fmt: skip
delivery = Table(
    "delivery", metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", String(32), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("monitor", String(32), nullable=False),
    Column("episode", Integer),
    Column("group_key", String(64), nullable=False),
    Column("fold_key", String(80)),
    Column("body", Text),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("detail", String(200), nullable=False),
    Column("address", String(32)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("hold_until", UtcDateTime),
    Column("claimed_until", UtcDateTime),
    Column("tried_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("event_id", "channel", name="delivery_once"),
    Index("delivery_queue", "channel", "state", "due_at"),
    Index("delivery_group", "group_key", "state", "id"),
    Index("delivery_pace", "channel", "tried_at"),
)  # fmt: skip
outbox = outbox_table(metadata)
inbox = inbox_table(metadata)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this replica alone may send until the lease ends. `attempts` counts this one."""

    id: int
    channel: str
    event_id: str
    monitor: str
    episode: int | None
    body: str
    attempts: int
    created_at: datetime


class Store:
    """The statements, each a method that takes the transaction's connection; `Database.run` executes them."""

    def __init__(self, database: Database, box: Outbox, clock: Clock) -> None:
        self._database, self._outbox, self._clock = database, box, clock

    def record(self, connection: Connection, event: Event, channels: Sequence[str]) -> Outcome:
        """Note an event once and queue it for each channel; returns what became of it."""
        if not self._outbox.first_time(connection, event):
            return "duplicate"
        state = self._place(connection, event)
        now, fold = self._clock.now(), folding(event.data)
        values = {
            "event_id": event.id, "monitor": event.subject, "episode": event.data.episode, "group_key": group_key(event.data),
            "fold_key": fold and fold[0], "body": event.to_json().decode() if state == "pending" else None, "state": state,
            "attempts": 0, "detail": "", "created_at": now, "due_at": now, "finished_at": None if state == "pending" else now,
        }  # fmt: skip
        for channel in channels:
            row = {**values, "channel": channel}
            connection.execute(self._database.upsert(delivery, row, key=("event_id", "channel")))
        return "queued" if state == "pending" else state

    def _place(self, connection: Connection, event: Event) -> str:
        """Move the event's incident on and return the state of its deliveries."""
        fact, key = event.data, group_key(event.data)
        self._database.lock(connection, f"group/{key}")
        if fact.episode is not None:
            row = connection.execute(select(incident).where(incident.c.group_key == key)).one_or_none()
            known = Incident()
            if row:
                known = Incident(row.state, {"detector": row.detector_sequence, "retrainer": row.retrainer_sequence})
            after = known.advance(fact)
            values = {
                "group_key": key, "state": after.state, "detector_sequence": after.sequences.get("detector", 0),
                "retrainer_sequence": after.sequences.get("retrainer", 0), "updated_at": self._clock.now(),
            }  # fmt: skip
            connection.execute(self._database.upsert(incident, values, key=("group_key",), update=tuple(values)[1:]))
            if known.is_stale(fact):
                return "stale"
        if fold := folding(fact):
            since = self._clock.now() - fold[1]
            told = and_(delivery.c.group_key == key, delivery.c.fold_key == fold[0], delivery.c.created_at > since)
            if connection.scalar(select(exists().where(told, delivery.c.state.not_in(("stale", "folded"))))):
                return "folded"
        return "pending"

    def claim(self, connection: Connection, channel: str, pace: timedelta) -> Claim | float:
        """Lease the next delivery of a channel, or return the seconds until there may be one.

        The oldest of each group goes first, and `pace` lies between two tries, over all replicas. Times further ahead than
        anything is ever put off come from a clock that has jumped back, and are ignored.
        """
        self._database.lock(connection, f"channel/{channel}")
        now = self._clock.now()
        if (quiet := self._quiet(connection, channel, pace)) > timedelta(0):
            return quiet.total_seconds()
        free = or_(delivery.c.claimed_until.is_(None), delivery.c.claimed_until <= now, delivery.c.claimed_until > now + LEASE)
        due = or_(delivery.c.due_at <= now, delivery.c.due_at > now + MAX_DELAY)
        candidates = select(delivery).where(_pending(channel), free, due, _first_of_group())
        row = connection.execute(candidates.order_by(delivery.c.due_at, delivery.c.id).limit(1)).one_or_none()
        if row is None:
            times = (delivery.c.due_at, delivery.c.claimed_until)
            later = [connection.scalar(select(func.min(at)).where(_pending(channel), at > now)) for at in times]
            return min(((at - now).total_seconds() for at in later if at), default=float("inf"))
        values = {"claimed_until": now + LEASE, "attempts": row.attempts + 1, "tried_at": now}
        connection.execute(update(delivery).where(delivery.c.id == row.id).values(values))
        return Claim(row.id, channel, row.event_id, row.monitor, row.episode, row.body, row.attempts + 1, row.created_at)

    def _quiet(self, connection: Connection, channel: str, pace: timedelta) -> timedelta:
        now = self._clock.now()
        hold = connection.scalar(select(func.max(delivery.c.hold_until)).where(_pending(channel)))
        last = connection.scalar(select(func.max(delivery.c.tried_at)).where(delivery.c.channel == channel))
        held = hold - now if hold and hold - now <= MAX_DELAY else timedelta(0)
        paced = last + pace - now if last and last <= now else timedelta(0)
        return max(held, paced)

    def finish(
        self, connection: Connection, claim: Claim, outcome: Literal["delivered", "refused", "expired"], detail: str, address: str
    ) -> None:
        """End a delivery and announce it. One that another replica ended meanwhile is left alone.

        `address` is kept so that a refusal can be taken up again when the channel points elsewhere.
        """
        values = {
            "state": outcome, "detail": detail[:200], "address": address, "claimed_until": None, "hold_until": None,
            "finished_at": self._clock.now(), "tried_at": self._clock.now(),
        }  # fmt: skip
        if outcome == "delivered":
            values["body"] = None
        if connection.execute(update(delivery).where(delivery.c.id == claim.id, delivery.c.state == "pending").values(values)).rowcount:
            fact = DeliveryFinished(
                monitor=claim.monitor, episode=claim.episode, channel=claim.channel,
                event_id=claim.event_id, outcome=outcome, detail=detail[:200],
            )  # fmt: skip
            self._outbox.add(connection, [fact])

    def postpone(self, connection: Connection, claim: Claim, delay: timedelta, detail: str, *, hold: bool) -> None:
        """Try again after `delay`; with `hold` the whole channel keeps quiet until then."""
        due = self._clock.now() + min(delay, MAX_DELAY)
        values = {
            "due_at": due, "hold_until": due if hold else None, "claimed_until": None,
            "tried_at": self._clock.now(), "detail": detail[:200],
        }  # fmt: skip
        # A try that outlived its lease must not undo what the next holder did.
        mine = and_(delivery.c.id == claim.id, delivery.c.state == "pending", delivery.c.attempts == claim.attempts)
        connection.execute(update(delivery).where(mine).values(values))

    def resume(self, connection: Connection, channel: str, address: str) -> int:
        """Queue again what was refused at another address within the last day; returns how many."""
        now = self._clock.now()
        parked = and_(delivery.c.channel == channel, delivery.c.state == "refused", delivery.c.address != address)
        recent = delivery.c.created_at > now - GIVE_UP
        values = {"state": "pending", "attempts": 0, "due_at": now, "finished_at": None}
        return connection.execute(update(delivery).where(parked, recent).values(values)).rowcount

    def waiting(self, connection: Connection, channel: str) -> tuple[int, float]:
        """Return how many deliveries wait, and the age of the oldest in seconds."""
        columns = (func.count(), func.min(delivery.c.created_at))
        count, oldest = connection.execute(select(*columns).where(_pending(channel))).one()
        return count, (self._clock.now() - oldest).total_seconds() if oldest else 0.0

    def tidy(self, connection: Connection, channels: Sequence[str]) -> None:
        """Expire what waits for channels that are configured no more, and forget what ended long ago.

        An open incident and its deliveries stay, however old: its event is published again for as long as it is open.
        """
        now = self._clock.now()
        lost = and_(delivery.c.state == "pending", delivery.c.channel.not_in(channels), delivery.c.created_at < now - GIVE_UP)
        for row in connection.execute(select(delivery).where(lost)).all():
            claim = Claim(row.id, row.channel, row.event_id, row.monitor, row.episode, row.body, row.attempts, row.created_at)
            self.finish(connection, claim, "expired", "channel is configured no more", "")
        horizon = now - INBOX_KEPT
        connection.execute(incident.delete().where(incident.c.state == "resolved", incident.c.updated_at < horizon))
        known = select(incident.c.group_key)
        connection.execute(delivery.delete().where(delivery.c.finished_at < horizon, delivery.c.group_key.not_in(known)))
        self._outbox.forget_old(connection)


def no_current(_connection: Connection) -> Sequence[str]:
    """What the relay publishes again: nothing, the notifier announces only what is over."""
    return ()


def _pending(channel: str) -> ColumnElement[bool]:
    return and_(delivery.c.channel == channel, delivery.c.state == "pending")


def _first_of_group() -> ColumnElement[bool]:
    earlier: Any = delivery.alias("earlier")
    same = and_(earlier.c.group_key == delivery.c.group_key, earlier.c.channel == delivery.c.channel)
    return ~exists(select(earlier.c.id).where(same, earlier.c.state == "pending", earlier.c.id < delivery.c.id))
