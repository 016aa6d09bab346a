"""One drop into its parts, in one transaction that takes no lock but its own rows.

A window is the merge of its parts, and a part is keyed by the object. So a duplicate changes nothing, an overwrite replaces
what the old version gave to every window it touched, and a retraction removes it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from driftsonde.core.config import Monitor, RowsWindow, TimeWindow
from driftsonde.core.drops import Drop, compare_sequencers
from driftsonde.core.errors import GoneError, RetryableError, SupersededError, UnreadableObject
from driftsonde.core.events import DropRejected, Fact
from driftsonde.core.log import get_logger
from driftsonde.core.monitoring.window import is_final, object_order
from driftsonde.core.ports import Clock, ObjectInfo, ObjectStore
from driftsonde.core.sketch.codec import encode_table
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.baselines import Baselines
from driftsonde.detector.measure import Measured, measure
from driftsonde.detector.metrics import DetectorMetrics

log = get_logger(__name__)

_RETRIES = 5


@dataclass(frozen=True, slots=True)
class WrongBaseline(Exception):  # noqa: N818  # control flow between commit and measure, never seen outside
    """Some windows of the drop belong to other baseline versions than they were counted over."""

    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction did. `windows`: those to judge again."""

    outcome: str
    windows: tuple[str, ...] = ()
    too_late: int = 0
    facts: tuple[Fact, ...] = field(default=())


class Ingest:
    """Reads drops and commits their parts."""

    def __init__(
        self, database: Database, outbox: Outbox, objects: ObjectStore, baselines: Baselines, clock: Clock, metrics: DetectorMetrics
    ) -> None:
        self._database, self._outbox, self._objects = database, outbox, objects
        self._baselines, self._clock, self._metrics = baselines, clock, metrics

    async def drop(self, monitor: Monitor, drop: Drop) -> str:
        """Take one drop for one monitor; returns its outcome.

        Raises:
            UnreadableObject: after the rejection is committed; the message belongs in the dead letters.
            RetryableError: when something that is needed is away.
        """
        if drop.kind == "removed":
            return await self._remove(monitor, drop)
        known = await self._database.look(_object_row, monitor.name, drop)
        if known is not None and (stale := await self._standing(known, drop)):
            return await self._database.run(self._note_stale, monitor, drop, stale)
        versions: dict[str, int] = {}
        for _ in range(_RETRIES):
            current = await self._database.look(store.current_baseline, monitor.name)
            if current is None:
                return await self._database.run(self._note_pending, monitor, drop)
            try:
                return await self._take(monitor, drop, current, versions)
            except WrongBaseline as exc:
                versions.update(exc.versions)
        raise RetryableError(f"{drop.uri}: the baseline changed {_RETRIES} times while it was read")

    async def _take(self, monitor: Monitor, drop: Drop, current: int, versions: Mapping[str, int]) -> str:
        try:
            info = await self._pinned(drop)
            with self._metrics.stage.labels("read").time():
                measured = await self._measure(monitor, drop, info, current, versions)
        except GoneError as exc:
            return await self._database.run(self._note_gone, monitor, drop, exc.reason)
        except UnreadableObject as exc:
            await self._reject(monitor, drop, current, versions, exc)
            raise
        self._metrics.bytes.inc(info.size)
        self._metrics.rows.inc(measured.rows)
        with self._metrics.stage.labels("commit").time():
            committed = await self._database.run(self._commit, monitor, drop, measured)
        return committed.outcome

    async def _pinned(self, drop: Drop) -> ObjectInfo:
        info = await self._objects.head(drop.bucket, drop.key, version=drop.version)
        if drop.version is None and drop.etag and info.etag != drop.etag:
            raise SupersededError(f"{drop.uri} was replaced; the new version has its own event")
        return info

    async def _measure(self, monitor: Monitor, drop: Drop, info: ObjectInfo, current: int, versions: Mapping[str, int]) -> Measured:
        total: Measured | None = None
        for version in sorted({current, *versions.values()}):
            baseline = await self._baselines.get(monitor.name, version)
            measured = await measure(self._objects, asyncio.get_running_loop(), monitor, drop, info, baseline, version, self._clock.now())
            kept = {window: sketch for window, sketch in measured.windows.items() if versions.get(window, current) == version}
            total = measured.only(kept) if total is None else total.plus(kept, version)
        assert total is not None
        return total

    async def _reject(self, monitor: Monitor, drop: Drop, current: int, versions: Mapping[str, int], exc: UnreadableObject) -> None:
        """Count an unreadable drop: its window is untrusted, and an event says so."""
        version = next(iter(versions.values()), current)
        baseline = await self._baselines.get(monitor.name, version)
        sketch = baseline.empty_sketch()
        sketch.unreadable = 1
        measured = Measured.of_window(monitor, drop, sketch, version)
        fact = DropRejected(monitor=monitor.name, drop=drop.ref(), reason=exc.reason, message=str(exc)[:500])
        await self._database.run(self._commit, monitor, drop, measured, outcome=exc.reason, facts=(fact,))

    def _commit(
        self,
        connection: Connection,
        monitor: Monitor,
        drop: Drop,
        measured: Measured,
        outcome: str = "counted",
        facts: tuple[Fact, ...] = (),
    ) -> Committed:
        now = self._clock.now()
        if isinstance(monitor.window, RowsWindow):
            self._database.lock(connection, f"rows:{monitor.name}")
        row = _object_row(connection, monitor.name, drop, lock=not self._database.is_sqlite)
        if row is not None and row.outcome != "pending" and _order(row, drop) in (0, 1):
            return Committed("duplicate")  # another replica was faster
        first_seen = min(row.first_seen, drop.event_time) if row is not None else drop.event_time
        targets = self._targets(connection, monitor, drop, measured, row, first_seen)
        touched = {*store.window_ids(row), *targets}
        self._remove_parts(connection, monitor.name, drop)
        too_late = 0
        for window_id, (sketch, version) in targets.items():
            if self._closed_for(connection, monitor, window_id, now):
                too_late += 1
                continue
            connection.execute(
                store.part.insert().values(
                    monitor=monitor.name, window=window_id, bucket=drop.bucket, key=drop.key, version=drop.version, etag=drop.etag,
                    baseline=version, rows=sketch.rows, sketch=encode_table(sketch),
                )
            )  # fmt: skip
        if too_late and too_late == len(targets):
            outcome = "too_late"
        elif outcome == "counted" and measured.rows == 0:
            outcome = "empty"
        self._write_object(connection, monitor.name, drop, first_seen, outcome, measured.rows, sorted(targets))
        self._advance(connection, monitor.name, measured, now)
        store.mark_dirty(connection, monitor.name, sorted(touched), now)
        self._outbox.add(connection, facts)
        return Committed(outcome, tuple(sorted(touched)), too_late)

    def _targets(
        self, connection: Connection, monitor: Monitor, drop: Drop, measured: Measured, row: Row[Any] | None, first_seen: datetime
    ) -> dict[str, tuple[TableSketch, int]]:
        """Return window → (sketch, baseline version), and see that every window exists and has that version.

        Raises:
            WrongBaseline: naming the windows that were counted over another version than theirs.
        """
        current = store.current_baseline(connection, monitor.name)
        sketches = measured.windows
        if isinstance(monitor.window, RowsWindow):
            window_id = self._rows_window(connection, monitor, monitor.window, row)
            sketches = {window_id: next(iter(measured.windows.values()))}
        wrong, targets = {}, {}
        for window_id, sketch in sketches.items():
            known = store.window_row(connection, monitor.name, window_id)
            needed = known.baseline if known is not None else current
            version = measured.versions.get(window_id, measured.version)
            if needed is not None and needed != version:
                # A rows window is named at commit; until then its sketch goes by the name it was measured under.
                wrong[window_id if window_id in measured.windows else next(iter(measured.windows))] = needed
            targets[window_id] = (sketch, version)
        if wrong:
            raise WrongBaseline(wrong)
        for window_id, (_, version) in targets.items():
            self._write_window(connection, monitor, drop, window_id, version, first_seen)
        return targets

    def _rows_window(self, connection: Connection, monitor: Monitor, window: RowsWindow, row: Row[Any] | None) -> str:
        if row is not None and (known := store.window_ids(row)):
            return known[0]  # a drop that is replaced stays in its window
        filled = func.coalesce(func.sum(store.part.c.rows), 0)
        joined = store.window.outerjoin(
            store.part, and_(store.part.c.monitor == store.window.c.monitor, store.part.c.window == store.window.c.id)
        )
        newest = connection.execute(
            select(store.window.c.id, store.window.c.baseline, filled.label("rows")).select_from(joined)
            .where(store.window.c.monitor == monitor.name)
            .group_by(store.window.c.id, store.window.c.baseline, store.window.c.position)
            .order_by(store.window.c.position.desc()).limit(1)
        ).first()  # fmt: skip
        if newest is not None and newest.rows < window.size:
            return str(newest.id)
        return f"{int(newest.id) + 1 if newest is not None else 1:012d}"

    def _write_window(
        self, connection: Connection, monitor: Monitor, drop: Drop, window_id: str, version: int, first_seen: datetime
    ) -> None:
        values: dict[str, Any] = {
            "monitor": monitor.name,
            "id": window_id,
            "baseline": version,
            "first_drop": drop.event_time,
            "rows": 0,
            "revision": 0,
        }
        if isinstance(monitor.window, TimeWindow):
            start = datetime.fromisoformat(window_id)
            values |= {"position": window_id, "start": start, "end": start + monitor.window.size}
        elif isinstance(monitor.window, RowsWindow):
            values |= {"position": window_id}
        else:
            values |= {"position": object_order(first_seen, drop.bucket, drop.key), "start": first_seen}
        update = ("position", "start") if "start" in values and "end" not in values else ()
        connection.execute(self._database.upsert(store.window, values, key=("monitor", "id"), update=update))

    def _closed_for(self, connection: Connection, monitor: Monitor, window_id: str, now: datetime) -> bool:
        if not isinstance(monitor.window, TimeWindow):
            return False
        watermark = connection.scalar(select(store.progress.c.watermark).where(store.progress.c.monitor == monitor.name))
        end = datetime.fromisoformat(window_id) + monitor.window.size
        return is_final(end, watermark, lateness=monitor.window.lateness)

    def _remove_parts(self, connection: Connection, monitor: str, drop: Drop) -> None:
        table = store.part
        connection.execute(table.delete().where(table.c.monitor == monitor, table.c.bucket == drop.bucket, table.c.key == drop.key))

    def _write_object(
        self, connection: Connection, monitor: str, drop: Drop, first_seen: datetime, outcome: str, rows: int, windows: list[str], *,
        tombstone: bool = False,
    ) -> None:  # fmt: skip
        values = {
            "monitor": monitor, "bucket": drop.bucket, "key": drop.key, "version": drop.version, "etag": drop.etag,
            "sequencer": drop.sequencer, "event_time": drop.event_time, "first_seen": first_seen, "size": drop.size, "rows": rows,
            "outcome": outcome, "windows": json.dumps(windows), "tombstone": tombstone, "updated_at": self._clock.now(),
        }  # fmt: skip
        key = ("monitor", "bucket", "key")
        connection.execute(self._database.upsert(store.object_, values, key=key, update=tuple(name for name in values if name not in key)))

    def _advance(self, connection: Connection, monitor: str, measured: Measured, now: datetime) -> None:
        """Move the watermark, which never goes back."""
        values: dict[str, Any] = {"monitor": monitor, "last_drop": now}
        if measured.latest is not None:
            before = connection.scalar(select(store.progress.c.watermark).where(store.progress.c.monitor == monitor))
            values["watermark"] = max(measured.latest, before) if before else measured.latest
        update = tuple(name for name in values if name != "monitor")
        connection.execute(self._database.upsert(store.progress, values, key=("monitor",), update=update))

    def _note_pending(self, connection: Connection, monitor: Monitor, drop: Drop) -> str:
        row = _object_row(connection, monitor.name, drop, lock=not self._database.is_sqlite)
        if row is not None and _order(row, drop) in (0, 1):
            return "duplicate"  # what is pending is this version or a newer one
        first_seen = min(row.first_seen, drop.event_time) if row is not None else drop.event_time
        self._write_object(connection, monitor.name, drop, first_seen, "pending", 0, [])
        return "pending"

    def _note_gone(self, connection: Connection, monitor: Monitor, drop: Drop, outcome: str) -> str:
        """A pending drop that is gone must not be looked for after every adoption."""
        row = _object_row(connection, monitor.name, drop)
        if row is not None and row.outcome == "pending" and _order(row, drop) == 0:
            self._write_object(connection, monitor.name, drop, row.first_seen, outcome, 0, [])
        return outcome

    def _note_stale(self, connection: Connection, monitor: Monitor, drop: Drop, outcome: str) -> str:
        """An older event adds nothing but may show that the object was first seen earlier, which moves its window's place."""
        row = _object_row(connection, monitor.name, drop)
        if row is not None and drop.event_time < row.first_seen:
            table = store.object_
            mine = (table.c.monitor == monitor.name, table.c.bucket == drop.bucket, table.c.key == drop.key)
            connection.execute(table.update().where(*mine).values(first_seen=drop.event_time))
            for window_id in store.window_ids(row):
                known = store.window_row(connection, monitor.name, window_id)
                if known is not None and known.end is None and known.start is not None:
                    position = object_order(drop.event_time, drop.bucket, drop.key)
                    here = (store.window.c.monitor == monitor.name, store.window.c.id == window_id)
                    connection.execute(store.window.update().where(*here).values(position=position, start=drop.event_time))
                    store.mark_dirty(connection, monitor.name, [window_id], self._clock.now())
        return outcome

    async def _standing(self, row: Row[Any], drop: Drop) -> str | None:
        """Return `duplicate` or `stale` for an event that adds nothing to what is known, else None."""
        order = _order(row, drop)
        if order is None:
            # Padding the sequencers one way or the other disagrees: what is in the bucket now decides.
            info = await self._objects.head(drop.bucket, drop.key)
            order = -1 if info.etag == drop.etag else 1
        if order == 0:
            return None if row.outcome == "pending" else "duplicate"
        return "stale" if order > 0 else None

    async def _remove(self, monitor: Monitor, drop: Drop) -> str:
        if monitor.on_remove == "ignore":
            return "removed"
        return await self._database.run(self._retract, monitor, drop)

    def _retract(self, connection: Connection, monitor: Monitor, drop: Drop) -> str:
        row = _object_row(connection, monitor.name, drop, lock=not self._database.is_sqlite)
        if row is not None and (row.tombstone or (_order(row, drop) or 0) > 0):
            return "duplicate"
        now = self._clock.now()
        touched = [window for window in store.window_ids(row) if not self._closed_for(connection, monitor, window, now)]
        self._remove_parts(connection, monitor.name, drop)
        first_seen = min(row.first_seen, drop.event_time) if row is not None else drop.event_time
        self._write_object(connection, monitor.name, drop, first_seen, "retracted", 0, [], tombstone=True)
        store.mark_dirty(connection, monitor.name, touched, now)
        return "retracted"


def _object_row(connection: Connection, monitor: str, drop: Drop, lock: bool = False) -> Row[Any] | None:
    table = store.object_
    statement = select(table).where(table.c.monitor == monitor, table.c.bucket == drop.bucket, table.c.key == drop.key)
    return connection.execute(statement.with_for_update() if lock else statement).first()


def _order(row: Row[Any], drop: Drop) -> int | None:
    """Say how what is stored stands to an event: 0 the same, 1 newer, -1 older, None unknown."""
    if row.sequencer and drop.sequencer:
        return compare_sequencers(row.sequencer, drop.sequencer)
    if (row.version, row.etag) == (drop.version, drop.etag):
        return 0
    return 1 if row.event_time > drop.event_time else -1
