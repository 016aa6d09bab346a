"""Dirty windows into verdicts, verdicts into episodes: one transaction, serialised per monitor.

What it writes depends on the parts that are stored and on their order, never on which replica stored them or when.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from driftsonde.core.config import Monitor, RowsWindow, TimeWindow
from driftsonde.core.drift.verdict import Parameters, Verdict, judge_window
from driftsonde.core.events import MAX_DROPS, DriftResolved, DropRef, Fact, VerdictRevised, WindowRef
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.episode import Closed, Judged, Opened, Stored, find_spans, reconcile
from driftsonde.core.monitoring.window import is_closed
from driftsonde.core.names import digest
from driftsonde.core.ports import Clock
from driftsonde.core.sketch.codec import decode_table
from driftsonde.core.sketch.table import TableSketch, merge
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.baselines import load, reference
from driftsonde.detector.facts import announce, window_detail
from driftsonde.detector.policy import parameters_of


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a transaction decided, for the metrics."""

    verdicts: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    first_drops: tuple[datetime, ...] = ()


class Evaluate:
    """Judges what ingestion left dirty."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database, self._outbox, self._clock = database, outbox, clock
        self._baselines: dict[tuple[str, int], FrozenBaseline] = {}

    def __call__(self, connection: Connection, monitor: Monitor) -> Evaluated:
        """Judge every dirty window of a monitor that can be judged, and the next ones whose look-back reaches it."""
        self._database.lock(connection, f"evaluate:{monitor.name}")
        ready = self._ready(connection, monitor)
        done = Evaluated()
        if not ready:
            return done
        for version in sorted({row.baseline for row in ready}):
            mine = [row for row in ready if row.baseline == version]
            done = self._version(connection, monitor, version, mine, done)
        table = store.dirty
        connection.execute(table.delete().where(table.c.monitor == monitor.name, table.c.window.in_([row.id for row in ready])))
        return done

    def _ready(self, connection: Connection, monitor: Monitor) -> list[Row[Any]]:
        """Return the dirty windows that are complete enough to judge."""
        table = store.window
        joined = table.join(store.dirty, and_(store.dirty.c.monitor == table.c.monitor, store.dirty.c.window == table.c.id))
        rows = connection.execute(select(table).select_from(joined).where(table.c.monitor == monitor.name)).all()
        window = monitor.window
        if isinstance(window, TimeWindow):
            seen = connection.execute(select(store.progress).where(store.progress.c.monitor == monitor.name)).first()
            watermark, last = (seen.watermark, seen.last_drop) if seen is not None else (None, None)
            idle = window.idle or window.size
            return [row for row in rows if is_closed(row.end, watermark, last, self._clock.now(), idle=idle)]
        if isinstance(window, RowsWindow):
            return [row for row in rows if row.verdict is not None or self._rows(connection, monitor.name, row.id) >= window.size]
        return list(rows)

    def _rows(self, connection: Connection, monitor: str, window: str) -> int:
        total = select(func.sum(store.part.c.rows)).where(store.part.c.monitor == monitor, store.part.c.window == window)
        return connection.scalar(total) or 0

    def _version(self, connection: Connection, monitor: Monitor, version: int, ready: Sequence[Row[Any]], done: Evaluated) -> Evaluated:
        baseline = self._baseline(connection, monitor.name, version)
        parameters = parameters_of(monitor.policy)
        dirty = {row.id for row in ready}
        table = store.window
        windows = connection.execute(
            select(table).where(table.c.monitor == monitor.name, table.c.baseline == version).order_by(table.c.position)
        ).all()
        windows = [row for row in windows if row.verdict is not None or row.id in dirty]
        affected = {
            i for first in (i for i, row in enumerate(windows) if row.id in dirty) for i in range(first, first + parameters.lookback)
        }
        sketches = _Sketches(connection, monitor.name, baseline)
        words: dict[str, str] = {row.id: row.verdict for row in windows if row.verdict is not None}
        facts: list[Fact] = []
        judged: dict[str, tuple[Verdict, WindowRef, list[str]]] = {}
        kept: list[str] = []
        for index, row in enumerate(windows):
            if index in affected:
                current = sketches.of(row.id)
                if current is None:  # every part was taken away: there is no such window any more
                    connection.execute(table.delete().where(table.c.monitor == monitor.name, table.c.id == row.id))
                    words.pop(row.id, None)
                    continue
                trusted = [window for window in kept if words[window] != "untrusted"][-(parameters.lookback - 1) or len(kept) :]
                history = [*trusted, row.id]
                verdict = judge_window(baseline.columns, sketches.many(history), parameters)
                revision, revised = self._write(connection, monitor.name, row, verdict, current.rows)
                words[row.id] = verdict.word
                reference_ = WindowRef(id=row.id, rows=current.rows, start=row.start, end=row.end, revision=revision)
                judged[row.id] = (verdict, reference_, history)
                if revised:
                    facts.append(VerdictRevised(monitor=monitor.name, window=reference_, before=row.verdict, after=verdict.word))
            kept.append(row.id)
        opened = self._episodes(
            connection, monitor, version, baseline, parameters, [Judged(w, words[w]) for w in kept], judged, sketches, facts
        )
        self._outbox.add(connection, facts)
        new = [row for row in windows if row.id in judged and row.verdict is None and row.first_drop is not None]
        return Evaluated(
            (*done.verdicts, *(verdict.word for verdict, _, _ in judged.values())), (*done.opened, *opened),
            (*done.first_drops, *(row.first_drop for row in new)),
        )  # fmt: skip

    def _baseline(self, connection: Connection, monitor: str, version: int) -> FrozenBaseline:
        if (monitor, version) not in self._baselines:
            self._baselines[monitor, version] = load(connection, monitor, version)
        return self._baselines[monitor, version]

    def _write(self, connection: Connection, monitor: str, row: Row[Any], verdict: Verdict, rows: int) -> tuple[int, bool]:
        """Store a verdict; returns its revision and whether its word changed."""
        detail = json.dumps(window_detail(verdict), sort_keys=True)
        content = digest(verdict.word, rows, detail)
        if row.digest == content:
            return row.revision, False
        table = store.window
        connection.execute(
            table.update()
            .where(table.c.monitor == monitor, table.c.id == row.id)
            .values(verdict=verdict.word, rows=rows, detail=detail, digest=content, revision=row.revision + 1, judged_at=self._clock.now())
        )
        return row.revision + 1, row.verdict is not None and row.verdict != verdict.word

    def _episodes(
        self, connection: Connection, monitor: Monitor, version: int, baseline: FrozenBaseline, parameters: Parameters,
        verdicts: Sequence[Judged], judged: dict[str, tuple[Verdict, WindowRef, list[str]]], sketches: _Sketches, facts: list[Fact],
    ) -> list[str]:  # fmt: skip
        table, now = store.episode, self._clock.now()
        rows = connection.execute(select(table).where(table.c.monitor == monitor.name).order_by(table.c.number)).all()
        stored = [Stored(row.number, row.kind, row.opened, row.is_open) for row in rows if row.baseline == version]
        offset = max((row.number for row in rows), default=0)
        stored_number = max((episode.number for episode in stored), default=0)
        current = store.current_baseline(connection, monitor.name) == version
        opened: list[str] = []
        for change in reconcile(find_spans(verdicts, clear_after=monitor.policy.clear_after), stored):
            # Numbers run on over baseline versions; reconcile counts within one.
            number = change.number if change.number <= stored_number else change.number - stored_number + offset
            if not current and number > offset:
                continue  # a baseline that is no longer in force opens nothing
            if isinstance(change, Closed):
                facts.append(DriftResolved(monitor=monitor.name, episode=number, sequence=2, kind=change.kind, cause=change.cause))
                where = (table.c.monitor == monitor.name, table.c.number == number)
                connection.execute(table.update().where(*where).values(is_open=False, cause=change.cause, closed_at=now))
            else:
                known = judged.get(change.span.opened)
                verdict, window, history = known or self._again(connection, monitor, baseline, parameters, change, verdicts, sketches)
                fact = announce(
                    monitor.name, number, verdict, window, baseline, reference(connection, monitor.name, version), sketches.many(history),
                    self._drops(connection, monitor.name, history), parameters.psi_bins,
                )  # fmt: skip
                (event_id,) = self._outbox.add(connection, [fact])
                connection.execute(
                    table.insert().values(
                        monitor=monitor.name, number=number, kind=change.span.kind, baseline=version, opened=change.span.opened,
                        is_open=True, event_id=event_id, summary=fact.summary, opened_at=now,
                    )
                )  # fmt: skip
                opened.append(change.span.kind)
        return opened

    def _again(
        self, connection: Connection, monitor: Monitor, baseline: FrozenBaseline, parameters: Parameters, change: Opened,
        verdicts: Sequence[Judged], sketches: _Sketches,
    ) -> tuple[Verdict, WindowRef, list[str]]:  # fmt: skip
        """Judge an opening window whose own verdict did not change this time, to say again what it said."""
        order = [verdict.window for verdict in verdicts]
        before = [v.window for v in verdicts[: order.index(change.span.opened)] if v.word != "untrusted"]
        history = [*before[-(parameters.lookback - 1) or len(before) :], change.span.opened]
        row = store.window_row(connection, monitor.name, change.span.opened)
        assert row is not None  # it was in the list of windows of this transaction
        window = WindowRef(id=row.id, rows=row.rows, start=row.start, end=row.end, revision=row.revision)
        return judge_window(baseline.columns, sketches.many(history), parameters), window, history

    def _drops(self, connection: Connection, monitor: str, windows: Sequence[str]) -> list[DropRef]:
        """Return the drops of the look-back, oldest first, the newest that fit into an event."""
        table = store.part
        order = {window: place for place, window in enumerate(windows)}
        rows = connection.execute(select(table).where(table.c.monitor == monitor, table.c.window.in_(windows))).all()
        rows = sorted(rows, key=lambda row: (order[row.window], row.bucket, row.key))
        unique = {(row.bucket, row.key): row for row in rows if row.rows}
        return [
            DropRef(bucket=row.bucket, key=row.key, version=row.version, etag=row.etag, rows=row.rows)
            for row in list(unique.values())[-MAX_DROPS:]
        ]


class _Sketches:
    """Merged windows, read when they are needed."""

    def __init__(self, connection: Connection, monitor: str, baseline: FrozenBaseline) -> None:
        self._connection, self._monitor, self._baseline = connection, monitor, baseline
        self._known: dict[str, TableSketch | None] = {}

    def of(self, window: str) -> TableSketch | None:
        """Return a window's sketch; None when it has no part."""
        if window not in self._known:
            table = store.part
            parts = self._connection.scalars(select(table.c.sketch).where(table.c.monitor == self._monitor, table.c.window == window)).all()
            self._known[window] = merge(self._baseline.digest, map(decode_table, parts)) if parts else None
        return self._known[window]

    def many(self, windows: Sequence[str]) -> list[TableSketch]:
        """Return the sketches of windows that have parts."""
        return [sketch for window in windows if (sketch := self.of(window)) is not None]
