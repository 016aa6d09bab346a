"""The notifier's statements: incidents and the delivery log. Tables: `schema`; silences and reminders have modules of their own.

A delivery is `pending` until it ends as `delivered`, `refused` or `expired`; `stale`, `folded` and `silenced` ones are only
logged. A silenced one may become pending when the silence is over (`silences.Silences.release`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update

from driftsonde.core.config import Severity
from driftsonde.core.events import Alarm, DeliveryFinished, DriftResolved, Event
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import INBOX_KEPT, Outbox
from driftsonde.notifier.grouping import Incident, Recorded, folding, group_key, severity
from driftsonde.notifier.quiet import SEVERITIES
from driftsonde.notifier.schema import delivery, incident, silence, thread
from driftsonde.notifier.silences import Silences

LEASE: Final = timedelta(seconds=60)
"""How long a claim keeps other replicas away; longer than any try takes."""
GIVE_UP: Final = timedelta(hours=24)
MAX_DELAY: Final = timedelta(minutes=15)
"""No try is put off for longer, whatever the other side asks for."""


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
    group_key: str
    reminder: int


class Store:
    """The statements, each a method that takes the transaction's connection; `Database.run` executes them."""

    def __init__(self, database: Database, box: Outbox, clock: Clock) -> None:
        self._database, self._outbox, self._clock = database, box, clock
        self._silences = Silences(database, clock)

    def record(self, connection: Connection, event: Event, channels: Sequence[str]) -> Recorded:
        """Note an event once and queue it for each channel, or log why it is not sent there."""
        if not self._outbox.first_time(connection, event):
            return Recorded("duplicate")
        state = self._place(connection, event)
        silenced: set[str] = set()
        if state == "pending":
            # Shared: who begins a silence waits for us, and finds what we queued.
            self._database.lock(connection, f"silence/{event.subject}", shared=True)
            silenced = self._silences.silenced(connection, event.subject, channels)
        for channel in channels:
            row = self._row(event, channel, "silenced" if channel in silenced else state)
            connection.execute(self._database.upsert(delivery, row, key=("event_id", "channel")))
        if state != "pending":
            return Recorded(state)
        queued = tuple(channel for channel in channels if channel not in silenced)
        return Recorded("silenced" if silenced and not queued else "queued", queued, tuple(silenced))

    def _row(self, event: Event, channel: str, state: str) -> dict[str, Any]:
        now, fold = self._clock.now(), folding(event.data)
        # Of what is silenced only the beginning and the end of an episode may be told later.
        kept = state == "pending" or (state == "silenced" and isinstance(event.data, Alarm | DriftResolved))
        return {
            "event_id": event.id, "channel": channel, "monitor": event.subject, "episode": event.data.episode,
            "group_key": group_key(event.data), "fold_key": fold and fold[0], "body": event.to_json().decode() if kept else None,
            "state": state, "attempts": 0, "detail": "", "created_at": now, "due_at": now,
            "finished_at": None if state == "pending" else now, "type": event.data.TYPE, "severity": severity(event.data),
        }  # fmt: skip

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
            if after.state == "resolved":
                values["alarm"] = None
                self._withdraw_reminders(connection, key)
            elif isinstance(fact, Alarm) and not known.is_stale(fact):
                values["alarm"] = event.to_json().decode()
            connection.execute(self._database.upsert(incident, values, key=("group_key",), update=tuple(values)[1:]))
            if known.is_stale(fact):
                return "stale"
        if fold := folding(fact):
            since = self._clock.now() - fold[1]
            told = and_(delivery.c.group_key == key, delivery.c.fold_key == fold[0], delivery.c.created_at > since)
            if connection.scalar(select(exists().where(told, delivery.c.state.not_in(("stale", "folded", "silenced"))))):
                return "folded"
        return "pending"

    def _withdraw_reminders(self, connection: Connection, key: str) -> None:
        """An episode that is over needs no reminder, unless it is being sent this moment."""
        now = self._clock.now()
        waits = and_(delivery.c.group_key == key, delivery.c.state == "pending", delivery.c.reminder.is_not(None))
        free = or_(delivery.c.claimed_until.is_(None), delivery.c.claimed_until <= now)
        connection.execute(update(delivery).where(waits, free).values(state="stale", body=None, finished_at=now))

    def claim(self, connection: Connection, channel: str, pace: timedelta, severities: Collection[Severity] = SEVERITIES) -> Claim | float:
        """Lease the next delivery of a channel, or return the seconds until there may be one.

        The oldest of each group goes first, and `pace` lies between two tries, over all replicas. Times further ahead than
        anything is ever put off come from a clock that has jumped back, and are ignored. What has none of the `severities`
        is held back, and holds up nothing.
        """
        self._database.lock(connection, f"channel/{channel}")
        now = self._clock.now()
        if (quiet := self._quiet(connection, channel, pace)) > timedelta(0):
            return quiet.total_seconds()
        free = or_(delivery.c.claimed_until.is_(None), delivery.c.claimed_until <= now, delivery.c.claimed_until > now + LEASE)
        due = or_(delivery.c.due_at <= now, delivery.c.due_at > now + MAX_DELAY)
        candidates = select(delivery).where(_pending(channel, severities), free, due, _first_of_group(severities))
        row = connection.execute(candidates.order_by(delivery.c.due_at, delivery.c.id).limit(1)).one_or_none()
        if row is None:
            times = (delivery.c.due_at, delivery.c.claimed_until)
            later = [connection.scalar(select(func.min(at)).where(_pending(channel, severities), at > now)) for at in times]
            return min(((at - now).total_seconds() for at in later if at), default=float("inf"))
        values = {"claimed_until": now + LEASE, "attempts": row.attempts + 1, "tried_at": now}
        connection.execute(update(delivery).where(delivery.c.id == row.id).values(values))
        return _claim(row, row.attempts + 1)

    def _quiet(self, connection: Connection, channel: str, pace: timedelta) -> timedelta:
        now = self._clock.now()
        hold = connection.scalar(select(func.max(delivery.c.hold_until)).where(_pending(channel)))
        last = connection.scalar(select(func.max(delivery.c.tried_at)).where(delivery.c.channel == channel))
        held = hold - now if hold and hold - now <= MAX_DELAY else timedelta(0)
        paced = last + pace - now if last and last <= now else timedelta(0)
        return max(held, paced)

    def thread(self, connection: Connection, claim: Claim, address: str) -> str | None:
        """Return where the channel put earlier messages of the group."""
        mine = (thread.c.group_key == claim.group_key, thread.c.channel == claim.channel, thread.c.address == address)
        found: str | None = connection.scalar(select(thread.c.thread).where(*mine))
        return found

    def finish(
        self, connection: Connection, claim: Claim, outcome: Literal["delivered", "refused", "expired"], detail: str, address: str,
        *, begun: str | None = None,
    ) -> None:  # fmt: skip
        """End a delivery and announce it. One that another replica ended meanwhile is left alone.

        `address` is kept so that a refusal can be taken up again when the channel points elsewhere; `begun` is the thread
        that later messages of the group belong in.
        """
        if begun is not None:
            place = {"group_key": claim.group_key, "channel": claim.channel, "address": address, "thread": begun}
            connection.execute(self._database.upsert(thread, place, key=("group_key", "channel"), update=("address", "thread")))
        values = {
            "state": outcome, "detail": detail[:200], "address": address, "claimed_until": None, "hold_until": None,
            "finished_at": self._clock.now(), "tried_at": self._clock.now(),
        }  # fmt: skip
        if outcome == "delivered":
            values["body"] = None
        if connection.execute(update(delivery).where(delivery.c.id == claim.id, delivery.c.state == "pending").values(values)).rowcount:
            fact = DeliveryFinished(
                monitor=claim.monitor, episode=claim.episode, channel=claim.channel,
                event_id=claim.event_id, outcome=outcome, detail=detail[:200] or (f"reminder {claim.reminder}" if claim.reminder else ""),
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

    def waiting(self, connection: Connection, channel: str, severities: Collection[Severity] = SEVERITIES) -> tuple[int, float, int]:
        """Return how many deliveries wait, the age of the oldest in seconds, and how many more are held back."""
        columns = (func.count(), func.min(delivery.c.created_at))
        count, oldest = connection.execute(select(*columns).where(_pending(channel, severities))).one()
        every = connection.scalar(select(func.count()).where(_pending(channel))) or 0
        return count, (self._clock.now() - oldest).total_seconds() if oldest else 0.0, every - count

    def tidy(self, connection: Connection, channels: Sequence[str]) -> None:
        """Expire what waits for channels that are configured no more, and forget what ended long ago.

        An open incident and its deliveries stay, however old: its event is published again for as long as it is open.
        """
        now = self._clock.now()
        lost = and_(delivery.c.state == "pending", delivery.c.channel.not_in(channels), delivery.c.created_at < now - GIVE_UP)
        for row in connection.execute(select(delivery).where(lost)).all():
            self.finish(connection, _claim(row, row.attempts), "expired", "channel is configured no more", "")
        horizon = now - INBOX_KEPT
        connection.execute(incident.delete().where(incident.c.state == "resolved", incident.c.updated_at < horizon))
        known = select(incident.c.group_key)
        connection.execute(delivery.delete().where(delivery.c.finished_at < horizon, delivery.c.group_key.not_in(known)))
        connection.execute(thread.delete().where(thread.c.group_key.not_in(known)))
        connection.execute(silence.delete().where(silence.c.until < horizon))
        self._outbox.forget_old(connection)


def no_current(_connection: Connection) -> Sequence[str]:
    """What the relay publishes again: nothing, the notifier announces only what is over."""
    return ()


def _claim(row: Any, attempts: int) -> Claim:
    return Claim(
        row.id, row.channel, row.event_id, row.monitor, row.episode, row.body, attempts, row.created_at, row.group_key, row.reminder or 0
    )  # fmt: skip


def _pending(channel: str, severities: Collection[Severity] = SEVERITIES) -> ColumnElement[bool]:
    mine = and_(delivery.c.channel == channel, delivery.c.state == "pending")
    return mine if len(severities) == len(SEVERITIES) else and_(mine, delivery.c.severity.in_(severities))


def _first_of_group(severities: Collection[Severity]) -> ColumnElement[bool]:
    earlier: Any = delivery.alias("earlier")
    same = and_(earlier.c.group_key == delivery.c.group_key, earlier.c.channel == delivery.c.channel)
    waits = and_(earlier.c.state == "pending", earlier.c.severity.in_(severities), earlier.c.id < delivery.c.id)
    return ~exists(select(earlier.c.id).where(same, waits))
