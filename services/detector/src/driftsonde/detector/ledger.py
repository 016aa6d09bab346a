"""What is known of each object, and its parts: the transactions of ingestion.

A window is the merge of its parts, and a part is keyed by the object. So a duplicate changes nothing, an overwrite replaces
what the old version gave to every window it touched, and a retraction removes it; only what is final stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, case, or_, select

from driftsonde.core import tracing
from driftsonde.core.config import Monitor, RowsWindow, TimeWindow
from driftsonde.core.drops import Drop, compare_sequencers
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.events import Fact
from driftsonde.core.ports import Clock
from driftsonde.core.sketch.codec import encode_table
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.judging import DamagedPart
from driftsonde.detector.measure import Measured
from driftsonde.detector.windows import Windows

PENDING: Final = ("pending", "damaged")
"""Outcomes of what is to be read: not yet at all, or once more because a stored part of it cannot be read."""
LOOK_AGAIN: Final = frozenset({*PENDING, *UnreadableObject.REASONS})
"""Outcomes after which the same event is taken again: what was pending has its baseline, a dead letter was replayed on purpose."""

# Made once: making a statement takes longer than running it.
_OBJECT: Final = select(store.object_).where(
    store.object_.c.monitor == bindparam("of"),
    store.object_.c.bucket == bindparam("its_bucket"),
    store.object_.c.key == bindparam("its_key"),
)
_REMOVE: Final = store.part.delete().where(
    store.part.c.monitor == bindparam("of"),
    store.part.c.bucket == bindparam("its_bucket"),
    store.part.c.key == bindparam("its_key"),
)
_REMOVE_BUT: Final = _REMOVE.where(store.part.c.window.not_in(bindparam("keep", expanding=True)))


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction did.

    Args:
        outcome: of the drop.
        too_late: rows for windows that were final.
    """

    outcome: str
    too_late: int = 0


class Ledger:
    """Changes objects and parts. A transaction holds its own object and shares its windows: replicas never wait for a monitor."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database, self._outbox, self._clock = database, outbox, clock
        self._windows = Windows(database, clock)

    def commit(
        self, connection: Connection, monitor: Monitor, drop: Drop, measured: Measured, outcome: str = "counted", facts: Sequence[Fact] = ()
    ) -> Committed:
        """Store what a drop adds, in place of what the object gave before.

        Raises:
            WrongBaseline: when a window belongs to another version than the drop was counted over.
        """
        if isinstance(monitor.window, RowsWindow):
            self._database.lock(connection, f"rows:{monitor.name}")
        row = self._hold(connection, monitor.name, drop)
        if row is not None and (known := standing(row, drop)):
            return Committed(known)  # another replica was faster
        first_seen = min(row.first_seen, drop.event_time) if row is not None else drop.event_time
        sketches, before = self._windows.named(connection, monitor, measured, row), store.window_ids(row)
        restored = before if row is not None and row.outcome == "damaged" and order_of(row, drop) == 0 else ()
        final = self._windows.final(connection, monitor, {*before, *sketches}, restored=restored)
        wanted = {name: sketch for name, sketch in sketches.items() if name not in final}
        versions = self._windows.take(connection, monitor, drop, measured, wanted, first_seen)
        self._remove_parts(connection, monitor.name, drop, keep=final)
        for name, sketch in sorted(wanted.items()):
            values = {
                "monitor": monitor.name, "window": name, "bucket": drop.bucket, "key": drop.key, "version": drop.version,
                "etag": drop.etag, "baseline": versions[name], "rows": sketch.rows, "sketch": encode_table(sketch),
            }  # fmt: skip
            connection.execute(store.part.insert(), values)
        self._windows.close_full(connection, monitor, wanted)
        if outcome == "counted":
            outcome = "too_late" if sketches and not wanted else "counted" if measured.rows else "empty"
        kept = {name for name in before if name in final}
        self._write_object(connection, monitor.name, drop, first_seen, outcome, measured.rows, {*wanted, *kept})
        store.mark_dirty(self._database, connection, monitor.name, {*before, *wanted} - final, self._clock.now())
        self._outbox.add(connection, facts)
        self._advance(connection, monitor, measured)
        return Committed(outcome, sum(sketch.rows for name, sketch in sketches.items() if name in final))

    def note_pending(self, connection: Connection, monitor: Monitor, drop: Drop) -> str:
        """Remember a drop that is read later: before there is a baseline, or while its monitor has more than its share."""
        row = self._hold(connection, monitor.name, drop)
        if row is not None and (known := standing(row, drop)):
            return known
        if row is not None and row.outcome in PENDING and order_of(row, drop) == 0:
            return "duplicate"
        first_seen = min(row.first_seen, drop.event_time) if row is not None else drop.event_time
        self._write_object(connection, monitor.name, drop, first_seen, "pending", 0, store.window_ids(row))
        return "pending"

    def note_gone(self, connection: Connection, monitor: Monitor, drop: Drop, outcome: str) -> str:
        """Remember an object that was not there any more: once, and not what it was when a newer version is known."""
        row = self._hold(connection, monitor.name, drop)
        if row is None or (row.outcome in LOOK_AGAIN and order_of(row, drop) == 0):
            first_seen = row.first_seen if row is not None else drop.event_time
            self._write_object(connection, monitor.name, drop, first_seen, outcome, 0, store.window_ids(row))
            return outcome
        self._remember_times(connection, monitor, drop, row)
        return "duplicate" if row.outcome == outcome and order_of(row, drop) == 0 else outcome

    def note_stale(self, connection: Connection, monitor: Monitor, drop: Drop, outcome: str) -> str:
        """Take from an event that adds no rows what it tells of times."""
        row = self._hold(connection, monitor.name, drop)
        if row is not None:
            self._remember_times(connection, monitor, drop, row)
        return outcome

    def retract(self, connection: Connection, monitor: Monitor, drop: Drop) -> str:
        """Take an object's parts out of every window that is not final."""
        row = self._hold(connection, monitor.name, drop)
        if row is not None and (order := order_of(row, drop)) is not None and order >= 0:
            self._remember_times(connection, monitor, drop, row)
            return "duplicate" if order == 0 else "stale"
        before = set(store.window_ids(row))
        final = self._windows.final(connection, monitor, before)
        self._remove_parts(connection, monitor.name, drop, keep=final)
        first_seen = min(row.first_seen, drop.event_time) if row is not None else drop.event_time
        outcome = "too_late" if before and before <= final else "retracted"
        self._write_object(connection, monitor.name, drop, first_seen, outcome, 0, before & final, tombstone=True)
        store.mark_dirty(self._database, connection, monitor.name, before - final, self._clock.now())
        return outcome

    def read_again(self, connection: Connection, monitor: Monitor, damaged: DamagedPart) -> None:
        """Take a part away that cannot be read, and have the objects that it was counted from read once more."""
        part, window = store.part, store.window
        here = (part.c.monitor == monitor.name, part.c.window == damaged.window)
        connection.execute(part.delete().where(*here, part.c.bucket == damaged.bucket, part.c.key == damaged.key))
        connection.execute(window.update().where(window.c.monitor == monitor.name, window.c.id == damaged.window).values(compacted=False))
        table = store.object_
        one = and_(table.c.bucket == damaged.bucket, table.c.key == damaged.key)
        every = table.c.windows.contains(json.dumps(damaged.window), autoescape=True)
        mine = (table.c.monitor == monitor.name, table.c.outcome != "pending", one if damaged.key else every)
        connection.execute(table.update().where(*mine).values(outcome="damaged"))
        store.mark_dirty(self._database, connection, monitor.name, [damaged.window], self._clock.now())

    def _hold(self, connection: Connection, monitor: str, drop: Drop) -> Row[Any] | None:
        """Lock an object, also one that is not known yet, and return its row."""
        self._database.lock(connection, f"object:{monitor}:{drop.bucket}:{drop.key}")
        return object_row(connection, monitor, drop)

    def _remember_times(self, connection: Connection, monitor: Monitor, drop: Drop, row: Row[Any]) -> None:
        """An event may show that the object was first seen earlier, which moves its window's place, or is newer than was known."""
        table = store.object_
        here = (table.c.monitor == monitor.name, table.c.bucket == drop.bucket, table.c.key == drop.key)
        if drop.event_time < row.first_seen:
            connection.execute(table.update().where(*here).values(first_seen=drop.event_time))
            if not isinstance(monitor.window, TimeWindow | RowsWindow):
                for window_id in store.window_ids(row):
                    self._windows.move(connection, monitor.name, window_id, drop, drop.event_time)
        elif drop.event_time > row.event_time and order_of(row, drop) == 0:
            # Content that came back after another: without sequencers only the time tells that it is the latest.
            connection.execute(table.update().where(*here).values(event_time=drop.event_time))

    def _remove_parts(self, connection: Connection, monitor: str, drop: Drop, *, keep: Collection[str]) -> None:
        here = {"of": monitor, "its_bucket": drop.bucket, "its_key": drop.key}
        connection.execute(_REMOVE_BUT if keep else _REMOVE, here | ({"keep": list(keep)} if keep else {}))

    def _write_object(
        self, connection: Connection, monitor: str, drop: Drop, first_seen: datetime, outcome: str, rows: int, windows: Collection[str], *,
        tombstone: bool = False,
    ) -> None:  # fmt: skip
        values = {
            "monitor": monitor, "bucket": drop.bucket, "key": drop.key, "version": drop.version, "etag": drop.etag,
            "sequencer": drop.sequencer, "event_time": drop.event_time, "first_seen": first_seen, "size": drop.size, "rows": rows,
            "outcome": outcome, "windows": json.dumps(sorted(windows)), "tombstone": tombstone, "updated_at": self._clock.now(),
            "trace": tracing.current(),
        }  # fmt: skip
        key = ("monitor", "bucket", "key")
        self._database.put(connection, store.object_, values, key=key, update=[name for name in values if name not in key])

    def _advance(self, connection: Connection, monitor: Monitor, measured: Measured) -> None:
        """Move the watermark, which never goes back. Last: it is the one row that all drops of a monitor share."""
        if not isinstance(monitor.window, TimeWindow):
            return
        table = store.progress
        new = {"watermark": measured.latest, "last_drop": self._clock.now()}
        later = {
            name: case((or_(table.c[name].is_(None), table.c[name] < value), value), else_=table.c[name])
            for name, value in new.items()
            if value is not None
        }
        connection.execute(self._database.upsert(table, {"monitor": monitor.name, **new}, key=("monitor",), change=later))


def object_row(connection: Connection, monitor: str, drop: Drop) -> Row[Any] | None:
    """Return what is known of a drop's object."""
    return connection.execute(_OBJECT, {"of": monitor, "its_bucket": drop.bucket, "its_key": drop.key}).first()


def order_of(row: Row[Any], drop: Drop) -> int | None:
    """Say how what is stored stands to an event: 0 the same, positive newer, negative older, None unknown."""
    if row.sequencer and drop.sequencer:
        return compare_sequencers(row.sequencer, drop.sequencer)
    same = (row.version, row.etag) == (drop.version, drop.etag)
    if same and (drop.version or drop.etag or row.event_time == drop.event_time):
        return 0
    if row.event_time == drop.event_time:
        return None
    return 1 if row.event_time > drop.event_time else -1


def standing(row: Row[Any], drop: Drop) -> str | None:
    """Return `duplicate` or `stale` for an event that adds nothing to what is known, else None."""
    order = order_of(row, drop)
    if order == 0:
        return None if row.outcome in LOOK_AGAIN else "duplicate"
    return "stale" if order is not None and order > 0 else None
