"""What is kept for how long: parts until their window is final, windows and what is known of their objects for longer.

After `keep_parts` the parts of a window are made one, which belongs to no object, and the window takes no more rows: what still
comes is `too_late`. A window of one object keeps its part as it is. After `keep_windows` windows go altogether, but for those that
the next look-back needs. Objects are known until nothing of them is left, so that a drop which is delivered again until then adds
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, exists, select

from driftsonde.core.config import Config, Monitor, ObjectWindow
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock
from driftsonde.core.sketch.codec import SketchError, decode_table, encode_table
from driftsonde.core.sketch.table import merge
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.baselines import load
from driftsonde.detector.ledger import PENDING
from driftsonde.detector.windows import Windows

log = get_logger(__name__)

_AT_ONCE: Final = 20  # windows of one transaction: ingestion waits for it
_CHECKPOINTS_KEPT: Final = timedelta(days=7)


class Retention:
    """Makes old parts one, and forgets what is older.

    Args:
        keep_parts: after which a window that was judged is final.
        keep_windows: after which windows and what is known of their objects is forgotten.
    """

    def __init__(self, database: Database, config: Config, clock: Clock, *, keep_parts: timedelta, keep_windows: timedelta) -> None:
        self._database, self._config, self._clock = database, config, clock
        self._keep_parts, self._keep_windows = keep_parts, keep_windows
        self._windows = Windows(database, clock)

    async def tidy(self) -> None:
        """Do all there is to do.

        Raises:
            RetryableError: when the database stays away.
        """
        await self._database.run(self._forget_old)
        for monitor in self._config.monitors:
            while not isinstance(monitor.window, ObjectWindow) and await self._database.run(self._compact, monitor):
                pass
            while await self._database.run(self._forget_windows, monitor):
                pass
            await self._database.run(self._forget_objects, monitor)

    def _compact(self, connection: Connection, monitor: Monitor) -> bool:
        """Compact some windows; True if there were any."""
        self._database.lock(connection, f"evaluate:{monitor.name}")
        table = store.window
        rows = self._old(connection, monitor, self._keep_parts, table.c.compacted.is_(False), table.c.baseline.is_not(None))
        for row in rows:
            self._windows.hold(connection, monitor.name, row.id, alone=True)
            self._merge(connection, monitor.name, row)
            here = (table.c.monitor == monitor.name, table.c.id == row.id)
            connection.execute(table.update().where(*here).values(compacted=True))
        return bool(rows)

    def _merge(self, connection: Connection, monitor: str, row: Row[Any]) -> None:
        """Make the parts of a window one. One that cannot be read leaves them as they are: whoever judges next has it read again."""
        part = store.part
        mine = (part.c.monitor == monitor, part.c.window == row.id)
        layout = load(connection, monitor, row.baseline).layout
        parts = connection.scalars(select(part.c.sketch).where(*mine).execution_options(yield_per=_AT_ONCE))
        try:
            with parts:
                sketch = merge(layout, (decode_table(one, layout) for one in parts))
        except SketchError as exc:
            log.error("window cannot be compacted", monitor=monitor, window=row.id, error=str(exc))
            return
        connection.execute(part.delete().where(*mine))
        values = {"monitor": monitor, "window": row.id, "bucket": "", "key": "", "baseline": row.baseline}
        connection.execute(part.insert(), values | {"rows": sketch.rows, "sketch": encode_table(sketch)})

    def _forget_windows(self, connection: Connection, monitor: Monitor) -> bool:
        """Delete some windows and their parts; True if there were any."""
        self._database.lock(connection, f"evaluate:{monitor.name}")
        table, part, opened = store.window, store.part, store.episode
        needed = exists().where(opened.c.monitor == monitor.name, opened.c.opened == table.c.id, opened.c.is_open)
        rows = self._old(connection, monitor, self._keep_windows, ~needed)
        keep = self._look_back(connection, monitor)
        gone = [row.id for row in rows if row.id not in keep]
        if gone:
            connection.execute(part.delete().where(part.c.monitor == monitor.name, part.c.window.in_(gone)))
            connection.execute(table.delete().where(table.c.monitor == monitor.name, table.c.id.in_(gone)))
        return bool(gone)

    def _look_back(self, connection: Connection, monitor: Monitor) -> set[str]:
        """Return the newest windows of the baseline in force: as many as a verdict and an episode depend on."""
        table, policy = store.window, monitor.policy
        version = store.current_baseline(connection, monitor.name)
        newest = select(table.c.id).where(table.c.monitor == monitor.name, table.c.baseline == version).order_by(table.c.position.desc())
        return set(connection.scalars(newest.limit(2 * (policy.lookback + policy.clear_after))))

    def _forget_objects(self, connection: Connection, monitor: Monitor) -> None:
        """Forget objects of which no part is left; those whose parts were compacted go by their age alone, as their windows are final."""
        table, part = store.object_, store.part
        mine = and_(part.c.monitor == table.c.monitor, part.c.bucket == table.c.bucket, part.c.key == table.c.key)
        old = table.c.updated_at < self._clock.now() - self._keep_windows
        connection.execute(
            table.delete().where(table.c.monitor == monitor.name, old, table.c.outcome.not_in(PENDING), ~exists().where(mine))
        )

    def _forget_old(self, connection: Connection) -> None:
        now = self._clock.now()
        connection.execute(store.timeline.delete().where(store.timeline.c.at < now - self._keep_windows))
        connection.execute(store.checkpoint.delete().where(store.checkpoint.c.at < now - _CHECKPOINTS_KEPT))

    def _old(self, connection: Connection, monitor: Monitor, age: timedelta, *conditions: Any) -> Sequence[Row[Any]]:
        """Return the earliest windows that were judged so long ago, and do not wait to be judged again."""
        table, dirty = store.window, store.dirty
        waits = exists().where(dirty.c.monitor == table.c.monitor, dirty.c.window == table.c.id)
        old = (table.c.monitor == monitor.name, table.c.judged_at < self._clock.now() - age, ~waits, *conditions)
        wanted: Select[Any] = select(table.c.id, table.c.baseline).where(*old)
        return connection.execute(wanted.order_by(table.c.position).limit(_AT_ONCE)).all()
