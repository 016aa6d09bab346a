"""What the metrics say of the store: read again and again, so that every replica and every restart tells the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, select

from driftsonde.core.config import Config
from driftsonde.core.errors import POISON_REASONS
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.features import MAX_COLUMNS, Column, columns_of, picked
from driftsonde.detector.ledger import PENDING
from driftsonde.detector.metrics import EPISODES, VERDICTS, DetectorMetrics

RECENT: Final = 60
"""Windows and drops of a monitor that are looked at."""

_FEWEST_DROPS: Final = 3
# Made once: making a statement takes longer than running it, and there is one for each monitor.
_WINDOWS: Final = (
    select(*(store.window.c[name] for name in ("id", "verdict", "rows", "revision", "judged_at")))
    .where(store.window.c.monitor == bindparam("of"), store.window.c.baseline.is_not(None))
    .order_by(store.window.c.baseline.desc(), store.window.c.position.desc())
    .limit(RECENT)
)
_DETAIL: Final = select(store.window.c.detail).where(store.window.c.monitor == bindparam("of"), store.window.c.id == bindparam("its_id"))
_DROPS: Final = (
    select(store.object_.c.event_time)
    .where(store.object_.c.monitor == bindparam("of"), ~store.object_.c.tombstone)
    .order_by(store.object_.c.event_time.desc())
    .limit(RECENT)
)


@dataclass(frozen=True, slots=True)
class _Known:
    """The columns of a window, as long as it is not judged otherwise."""

    window: str
    revision: int
    columns: Sequence[Column]


class Gauges:
    """Reads the store and shows what it finds.

    Args:
        features: columns of each monitor with series of their own, beside those that drifted.
        cap: how many there are at most, over all monitors.
    """

    def __init__(
        self, database: Database, config: Config, metrics: DetectorMetrics, clock: Clock, *, features: int, cap: int = MAX_COLUMNS
    ) -> None:  # fmt: skip
        self._database, self._metrics, self._clock = database, metrics, clock
        self._names = [monitor.name for monitor in config.monitors]
        self._features, self._cap = features, cap
        self._known: dict[str, _Known] = {}

    async def refresh(self) -> None:
        """Read once, in a worker thread.

        Raises:
            RetryableError: when the database is away; what was read before stays.
        """
        await self._database.look(self._read)
        self._metrics.service.read_at.set(self._clock.now().timestamp())

    def _read(self, connection: Connection) -> None:
        recent = {name: connection.execute(_WINDOWS, {"of": name}).all() for name in self._names}
        self._show_windows(connection, recent)
        self._show_episodes(connection)
        self._show_drops(connection)
        metrics, objects, dirty = self._metrics, store.object_.c, store.dirty.c
        metrics.pending.show(self._counts(connection, objects.monitor, objects.outcome.in_(PENDING)))
        metrics.rejected.show(self._counts(connection, objects.monitor, objects.outcome.in_(POISON_REASONS)))
        metrics.dirty.show(self._counts(connection, dirty.monitor))

    def _counts(self, connection: Connection, monitor: Any, *wanted: Any) -> dict[tuple[str, ...], float]:
        """Count rows by monitor; 0 where there are none."""
        rows = connection.execute(select(monitor, func.count()).where(monitor.in_(self._names), *wanted).group_by(monitor))
        return {(name,): 0.0 for name in self._names} | {(name,): float(count) for name, count in rows}

    def _show_windows(self, connection: Connection, recent: Mapping[str, Sequence[Row[Any]]]) -> None:
        metrics = self._metrics
        words = {(name, word): 0.0 for name in self._names for word in (*VERDICTS, "none")}
        for name, rows in recent.items():
            for row in rows:
                words[name, row.verdict or "none"] += 1
        metrics.windows.show(words)
        newest = {name: next((row for row in rows if row.verdict is not None), None) for name, rows in recent.items()}
        judged = {name: row for name, row in newest.items() if row is not None}
        metrics.newest.show({(name, word): float(row.verdict == word) for name, row in judged.items() for word in VERDICTS})
        metrics.rows_judged.show({(name,): float(row.rows) for name, row in judged.items()})
        metrics.judged_at.show(_times({name: row.judged_at for name, row in judged.items()}))
        self._known = {name: self._columns(connection, name, row) for name, row in judged.items()}
        self._show_columns({name: known.columns for name, known in self._known.items()})

    def _columns(self, connection: Connection, name: str, row: Row[Any]) -> _Known:
        """Return what was found in a window's columns; read once for each of its revisions, for it may be long."""
        known = self._known.get(name)
        if known is None or (known.window, known.revision) != (row.id, row.revision):
            detail = connection.scalar(_DETAIL, {"of": name, "its_id": row.id})
            known = _Known(row.id, row.revision, columns_of(detail))
        return known

    def _show_columns(self, columns: Mapping[str, Sequence[Column]]) -> None:
        metrics = self._metrics
        shown, hidden = picked(columns, top=self._features, cap=self._cap)
        metrics.score.show({labels: column.score for labels, column in shown.items()})
        metrics.threshold.show({labels: column.threshold for labels, column in shown.items()})
        metrics.values.show({labels: float(column.values) for labels, column in shown.items() if column.values is not None})
        metrics.hidden.show({(reason,): float(count) for reason, count in hidden.items()})
        metrics.severity.show({(name,): max((column.ratio for column in found), default=0.0) for name, found in columns.items()})
        metrics.drifted.show({(name,): float(sum(column.drifted for column in found)) for name, found in columns.items()})

    def _show_episodes(self, connection: Connection) -> None:
        table, kinds = store.episode.c, [(name, kind) for name in self._names for kind in EPISODES]
        wanted = select(table.monitor, table.kind, func.max(table.opened_at)).where(table.monitor.in_(self._names))
        newest = {(name, kind): at for name, kind, at in connection.execute(wanted.group_by(table.monitor, table.kind))}
        is_open = connection.execute(
            select(table.monitor, table.kind, func.count())
            .where(table.is_open, table.monitor.in_(self._names))
            .group_by(table.monitor, table.kind)
        )
        self._metrics.open.show(dict.fromkeys(kinds, 0.0) | {(name, kind): float(count) for name, kind, count in is_open})
        self._metrics.opened_at.show({key: newest[key].timestamp() if key in newest else 0.0 for key in kinds})

    def _show_drops(self, connection: Connection) -> None:
        """Show when drops came; a feed that never began is as silent as one that stopped, so it counts from the baseline."""
        table = store.baseline.c
        made = (
            select(table.monitor, table.created_at).where(table.state == "adopted", table.monitor.in_(self._names)).order_by(table.version)
        )
        baselines: dict[str, datetime] = {row.monitor: row.created_at for row in connection.execute(made)}
        drops = {name: connection.scalars(_DROPS, {"of": name}).all() for name in self._names}
        newest = {name: times[0] if times else baselines.get(name) for name, times in drops.items()}
        gaps = {name: _longest_gap(times) for name, times in drops.items() if len(times) >= _FEWEST_DROPS}
        self._metrics.baseline_at.show(_times(baselines))
        self._metrics.last_drop.show(_times({name: at for name, at in newest.items() if at is not None}))
        self._metrics.interval.show({(name,): gap for name, gap in gaps.items()})


def _times(found: Mapping[str, datetime]) -> dict[tuple[str, ...], float]:
    return {(name,): at.timestamp() for name, at in found.items()}


def _longest_gap(times: Sequence[datetime]) -> float:
    """Return the longest time between two of the drops: of drops that come in bursts, or not on Sundays, the median says nothing."""
    return max((later - earlier).total_seconds() for later, earlier in pairwise(times))
