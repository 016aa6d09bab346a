"""Which windows a drop's rows go to: their names, their baseline versions, their order, and whether they still take rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, select

from driftsonde.core.config import Monitor, ObjectWindow, RowsWindow, TimeWindow
from driftsonde.core.drops import Drop
from driftsonde.core.monitoring.window import is_final, object_order
from driftsonde.core.ports import Clock
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.measure import Measured

_HERE: Final = (store.window.c.monitor == bindparam("of"), store.window.c.id == bindparam("window"))
_VERSION: Final = select(store.window.c.baseline).where(*_HERE)
_TAKE: Final = store.window.update().where(*_HERE, store.window.c.baseline.is_(None)).values(baseline=bindparam("current"))

_COMPACTED: Final = select(store.window.c.id).where(
    store.window.c.monitor == bindparam("of"), store.window.c.compacted, store.window.c.id.in_(bindparam("windows", expanding=True))
)


class WrongBaseline(Exception):  # control flow between commit and measure, never seen outside
    """Some windows of the drop belong to other baseline versions than they were counted over."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        super().__init__(f"windows of other baseline versions: {versions}")
        self.versions = versions


class Windows:
    """The windows of the store, as the transaction that adds parts sees them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def named(self, connection: Connection, monitor: Monitor, measured: Measured, row: Row[Any] | None) -> dict[str, TableSketch]:
        """Return what a drop adds to each window. A rows window is named now: until here its sketch went by the drop's name.

        Args:
            row: what the store knows of the object; a drop that is replaced stays in its window.
        """
        if not isinstance(monitor.window, RowsWindow):
            return dict(measured.windows)
        (sketch,) = measured.windows.values()
        known = store.window_ids(row)
        return {known[0] if known else self._open_rows_window(connection, monitor.name): sketch}

    def final(
        self, connection: Connection, monitor: Monitor, windows: Collection[str], *, restored: Collection[str] = ()
    ) -> set[str]:  # fmt: skip
        """Return those of some windows that take no more rows.

        Args:
            restored: windows that get back rows which they had: that it is late does not matter.
        """
        if isinstance(monitor.window, ObjectWindow):
            return set()
        compacted = set(connection.scalars(_COMPACTED, {"of": monitor.name, "windows": list(windows)}))
        if isinstance(monitor.window, RowsWindow):
            return compacted
        watermark = connection.scalar(select(store.progress.c.watermark).where(store.progress.c.monitor == monitor.name))
        ends = {name: datetime.fromisoformat(name) + monitor.window.size for name in windows if name not in restored}
        return compacted | {name for name, end in ends.items() if is_final(end, watermark, lateness=monitor.window.lateness)}

    def take(
        self,
        connection: Connection,
        monitor: Monitor,
        drop: Drop,
        measured: Measured,
        wanted: Mapping[str, TableSketch],
        first_seen: datetime,
    ) -> dict[str, int]:
        """See that every window exists, has the version that its sketch was counted over, and stays so until the commit.

        Returns:
            The baseline version of each window.

        Raises:
            WrongBaseline: naming the windows as they were named when they were measured.
        """
        current = store.current_baseline(connection, monitor.name)
        versions, wrong = {}, {}
        for window_id in sorted(wanted):
            self.hold(connection, monitor.name, window_id)
            versions[window_id] = self._write(connection, monitor, drop, window_id, current, first_seen)
            name = window_id if window_id in measured.windows else next(iter(measured.windows))
            if versions[window_id] != measured.version_of(name):
                wrong[name] = versions[window_id]
        if wrong:
            raise WrongBaseline(wrong)
        return versions

    def hold(self, connection: Connection, monitor: str, window_id: str, *, alone: bool = False) -> None:
        """Keep a window from being emptied while parts are added; `alone`, to empty it."""
        self._database.lock(connection, f"window:{monitor}:{window_id}", shared=not alone)

    def move(self, connection: Connection, monitor: str, window_id: str, drop: Drop, first_seen: datetime) -> None:
        """Put an object's window where its first event says, and have what followed it at its old place judged again."""
        table, known = store.window, store.window_row(connection, monitor, window_id)
        position = object_order(first_seen, drop.bucket, drop.key)
        if known is None or known.position == position:
            return
        after = select(table.c.id).where(table.c.monitor == monitor, table.c.baseline == known.baseline, table.c.position > known.position)
        follower = connection.scalar(after.order_by(table.c.position).limit(1))
        here = (table.c.monitor == monitor, table.c.id == window_id)
        connection.execute(table.update().where(*here).values(position=position, start=first_seen))
        changed = [window_id] if follower is None else [window_id, follower]
        store.mark_dirty(self._database, connection, monitor, changed, self._clock.now())

    def close_full(self, connection: Connection, monitor: Monitor, windows: Iterable[str]) -> None:
        """Close rows windows that have reached their size; the caller holds the lock under which they are named."""
        if not isinstance(monitor.window, RowsWindow):
            return
        table, parts = store.window, store.part
        for window_id in windows:
            total = select(func.sum(parts.c.rows)).where(parts.c.monitor == monitor.name, parts.c.window == window_id)
            if (connection.scalar(total) or 0) >= monitor.window.size:
                here = (table.c.monitor == monitor.name, table.c.id == window_id)
                connection.execute(table.update().where(*here).values(closed=True))

    def _open_rows_window(self, connection: Connection, monitor: str) -> str:
        table = store.window
        newest = connection.execute(
            select(table.c.id, table.c.closed).where(table.c.monitor == monitor).order_by(table.c.position.desc()).limit(1)
        ).first()
        if newest is not None and not newest.closed:
            return str(newest.id)
        return f"{int(newest.id) + 1 if newest is not None else 1:012d}"

    def _write(
        self, connection: Connection, monitor: Monitor, drop: Drop, window_id: str, current: int | None, first_seen: datetime
    ) -> int:
        values: dict[str, Any] = {
            "monitor": monitor.name, "id": window_id, "position": window_id, "baseline": current, "first_drop": drop.event_time,
            "rows": 0, "revision": 0, "closed": False,
        }  # fmt: skip
        if isinstance(monitor.window, TimeWindow):
            start = datetime.fromisoformat(window_id)
            values |= {"start": start, "end": start + monitor.window.size}
        elif not isinstance(monitor.window, RowsWindow):
            values |= {"position": object_order(first_seen, drop.bucket, drop.key), "start": first_seen}
        table = store.window
        self._database.put(connection, table, values, key=("monitor", "id"))
        if not isinstance(monitor.window, TimeWindow | RowsWindow):
            self.move(connection, monitor.name, window_id, drop, first_seen)
        here = {"of": monitor.name, "window": window_id}
        # Read back: another replica may have made it first, over another version.
        found: int | None = connection.execute(_VERSION, here).scalar_one()
        if found is None:
            connection.execute(_TAKE, here | {"current": current})
            found = connection.execute(_VERSION, here).scalar_one()
        return int(found)
