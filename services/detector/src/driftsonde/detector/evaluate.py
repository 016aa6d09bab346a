"""Dirty windows into verdicts, verdicts into episodes: one transaction, serialised per monitor.

What it writes depends on the parts that are stored and on their order, never on which replica stored them or when.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, select

from driftsonde.core.config import Monitor, RowsWindow, TimeWindow
from driftsonde.core.drift.verdict import Judge
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.window import is_closed
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.baselines import load
from driftsonde.detector.episodes import announce_changes
from driftsonde.detector.judging import Pass
from driftsonde.detector.policy import parameters_of
from driftsonde.detector.windows import Windows

COLUMNS = [column for column in store.window.c if column.name != "detail"]  # what is said of a window is long, and not needed
_MOST = 200  # windows of one transaction
_UNMARK: Final = store.dirty.delete().where(
    store.dirty.c.monitor == bindparam("of"), store.dirty.c.window == bindparam("its_window"), store.dirty.c.marks == bindparam("seen")
)


class _Mark(NamedTuple):
    """How often a window was marked, and the trace of what marked it last."""

    times: int
    trace: str | None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a transaction decided, for the metrics.

    Args:
        first_drops: of each window that had no verdict before, when its first drop came, and the trace that it was judged for.
        traces: of what was judged, each once.
    """

    verdicts: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    first_drops: tuple[tuple[datetime, str | None], ...] = ()
    traces: tuple[str, ...] = ()


class Evaluate:
    """Judges what ingestion left dirty."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database, self._outbox, self._clock = database, outbox, clock
        self._windows = Windows(database, clock)
        self._known: dict[tuple[str, int], tuple[FrozenBaseline, Judge]] = {}

    def __call__(self, connection: Connection, monitor: Monitor) -> Evaluated:
        """Judge every dirty window of a monitor that can be judged, and the next ones whose look-back reaches it."""
        self._database.lock(connection, f"evaluate:{monitor.name}")
        # First: a part that is committed from here on marks its window once more, and that mark stays.
        marks = self._marks(connection, monitor.name)
        ready = self._ready(connection, monitor, marks) if marks else []
        traces = {window: mark.trace for window, mark in marks.items()}
        verdicts: list[str] = []
        opened: list[str] = []
        first_drops: list[tuple[datetime, str | None]] = []
        for version in sorted({row.baseline for row in ready}):
            mine = [row for row in ready if row.baseline == version]
            done = self._version(connection, monitor, version, mine, traces)
            verdicts += [judged.verdict.word for judged in done.judged.values()]
            first_drops += [(row.first_drop, traces[row.id]) for row in mine if not row.revision and row.id in done.judged]
            opened += announce_changes(done)
        self._unmark(connection, monitor.name, marks, {row.id for row in ready})
        judged = dict.fromkeys(trace for row in ready if (trace := traces[row.id]))
        return Evaluated(tuple(verdicts), tuple(opened), tuple(first_drops), tuple(judged))

    def _marks(self, connection: Connection, monitor: str) -> dict[str, _Mark]:
        """Return the earliest of the dirty windows: a transaction of many would keep ingestion waiting in SQLite."""
        table, windows = store.dirty, store.window
        joined = table.join(windows, and_(table.c.monitor == windows.c.monitor, table.c.window == windows.c.id), isouter=True)
        wanted = select(table.c.window, table.c.marks, table.c.trace).select_from(joined).where(table.c.monitor == monitor)
        # Those that cannot be judged yet are the latest of all: they are never in the way of others.
        return {row.window: _Mark(row.marks, row.trace) for row in connection.execute(wanted.order_by(windows.c.position).limit(_MOST))}

    def _unmark(self, connection: Connection, monitor: str, marks: dict[str, _Mark], judged: Collection[str]) -> None:
        """Forget the marks that were seen. A window without a version was emptied before: there is nothing to judge in it."""
        windows = store.window
        empty = select(windows.c.id).where(windows.c.monitor == monitor, windows.c.baseline.is_(None), windows.c.id.in_(list(marks)))
        done = {*judged, *connection.scalars(empty)} & marks.keys()
        if done:
            seen = [{"of": monitor, "its_window": window_id, "seen": marks[window_id].times} for window_id in sorted(done)]
            connection.execute(_UNMARK, seen)

    def _ready(self, connection: Connection, monitor: Monitor, marks: Collection[str]) -> list[Row[Any]]:
        """Return the dirty windows that are complete enough to judge."""
        table = store.window
        wanted = select(*COLUMNS).where(table.c.monitor == monitor.name, table.c.baseline.is_not(None), table.c.id.in_(list(marks)))
        rows = connection.execute(wanted).all()
        window = monitor.window
        if isinstance(window, TimeWindow):
            watermark, last = self._progress(connection, monitor.name)
            idle = window.idle or window.size
            return [row for row in rows if is_closed(row.end, watermark, last, self._clock.now(), idle=idle)]
        if isinstance(window, RowsWindow):
            return [row for row in rows if row.closed or row.verdict is not None]
        return list(rows)

    def _progress(self, connection: Connection, monitor: str) -> tuple[datetime | None, datetime | None]:
        """Return a monitor's watermark, and when its last drop came. A clock that went back does not put that into the future."""
        table, now = store.progress, self._clock.now()
        seen = connection.execute(select(table).where(table.c.monitor == monitor)).first()
        if seen is None:
            return None, None
        if seen.last_drop is not None and seen.last_drop > now:
            connection.execute(table.update().where(table.c.monitor == monitor).values(last_drop=now))
            return seen.watermark, now
        return seen.watermark, seen.last_drop

    def _version(
        self, connection: Connection, monitor: Monitor, version: int, ready: Sequence[Row[Any]], traces: Mapping[str, str | None]
    ) -> Pass:
        if (monitor.name, version) not in self._known:
            baseline = load(connection, monitor.name, version)
            self._known[monitor.name, version] = baseline, Judge(baseline.columns, parameters_of(monitor.policy))
        dirty = {row.id for row in ready}
        before, clear = self._before(connection, monitor, version, min(row.position for row in ready))
        table = store.window
        mine = (table.c.monitor == monitor.name, table.c.baseline == version)
        after = connection.execute(
            select(*COLUMNS).where(*mine, table.c.position >= min(row.position for row in ready)).order_by(table.c.position)
        ).all()
        windows = [*before, *(row for row in after if row.verdict is not None or row.id in dirty)]
        done = Pass(
            connection, monitor, version, *self._known[monitor.name, version], self._outbox, self._clock.now(),
            hold=lambda window_id: self._windows.hold(connection, monitor.name, window_id, alone=True), traces=traces,
        )  # fmt: skip
        done.judge(windows, dirty, clear=clear)
        return done

    def _before(self, connection: Connection, monitor: Monitor, version: int, position: str) -> tuple[list[Row[Any]], int]:
        """Return as many of the windows before a position as what follows depends on.

        That is the look-back, and everything since the last time that `clear_after` windows in a row were quiet: then no episode
        was open, so what came before cannot matter to any that is.

        Returns:
            The windows in order, and how many of the first ones lie before such a time.
        """
        table, policy = store.window, monitor.policy
        limit = 2 * (policy.lookback + policy.clear_after)
        while True:
            earlier = (
                table.c.monitor == monitor.name,
                table.c.baseline == version,
                table.c.position < position,
                table.c.verdict.is_not(None),
            )
            rows = connection.execute(select(*COLUMNS).where(*earlier).order_by(table.c.position.desc()).limit(limit)).all()
            clear = _quiet_run([row.verdict for row in rows], policy.clear_after)
            trusted = sum(row.verdict != "untrusted" for row in rows)
            if len(rows) < limit or (clear is not None and trusted >= policy.lookback - 1):
                return list(reversed(rows)), len(rows) - clear if clear is not None else 0
            limit *= 4


def _quiet_run(words: Sequence[str], length: int) -> int | None:
    """Return the place of the first `length` quiet words in a row; None if there are none."""
    run = 0
    for place, word in enumerate(words):
        run = run + 1 if word in ("ok", "warning") else 0
        if run == length:
            return place + 1 - length
    return None
