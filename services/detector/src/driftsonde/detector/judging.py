"""The windows of one baseline version, judged in one transaction."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from driftsonde.core.config import Monitor
from driftsonde.core.drift.verdict import Judge, Verdict
from driftsonde.core.events import VerdictRevised, WindowRef
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.episode import Judged
from driftsonde.core.names import digest
from driftsonde.core.sketch.codec import SketchError, decode_table
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.facts import window_detail

_HERE: Final = (store.window.c.monitor == bindparam("of"), store.window.c.id == bindparam("its_id"))
# Made once: making a statement takes longer than running it.
_WRITE: Final = (
    store.window.update()
    .where(*_HERE)
    .values({name: bindparam(name) for name in ("verdict", "rows", "detail", "digest", "revision", "judged_at")})
)
_EMPTY: Final = store.window.update().where(*_HERE).values(verdict=None, rows=0, detail=None, digest=None, baseline=None)
_AT_ONCE = 64  # windows whose parts are read in one statement


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """A verdict, the window as events name it, and the look-back that it was judged with, itself last."""

    verdict: Verdict
    window: WindowRef
    history: tuple[str, ...]


class DamagedPart(Exception):
    """A stored part that cannot be read; without a key if it is that of all objects of a window."""

    def __init__(self, window: str, bucket: str, key: str, detail: str) -> None:
        super().__init__(f"{f's3://{bucket}/{key}' if key else 'all objects'} in window {window}: {detail}")
        self.window, self.bucket, self.key = window, bucket, key


class Pass:
    """One pass over the windows of a monitor that one baseline version has.

    Attributes:
        words: the verdict words in window order, from the last time that nothing was open.
        judged: what was judged in this pass, by window.
    """

    def __init__(
        self, connection: Connection, monitor: Monitor, version: int, baseline: FrozenBaseline, judge: Judge, outbox: Outbox, now: datetime, *,
        hold: Callable[[str], None], traces: Mapping[str, str | None] | None = None,
    ) -> None:  # fmt: skip
        self.connection, self.monitor, self.version, self.baseline = connection, monitor, version, baseline
        self.outbox, self.now, self._hold = outbox, now, hold
        self.parameters, self._judge = judge.parameters, judge
        self._traces = traces or {}
        self.words: list[Judged] = []
        self.judged: dict[str, JudgedWindow] = {}
        self._order: list[Judged] = []
        self._trusted: list[str] = []
        self._ids: list[str] = []
        self._sketches: OrderedDict[str, TableSketch | None] = OrderedDict()

    def judge(self, windows: Sequence[Row[Any]], dirty: Collection[str], *, clear: int) -> None:
        """Judge the dirty windows and those whose look-back reaches one.

        Args:
            windows: in window order, with all that the look-back of the first dirty one needs.
            clear: how many of the first ones lie before a time at which nothing was open.
        """
        self._ids = [row.id for row in windows]
        reach = 0  # how many more trusted windows have the latest change in their look-back
        for row in windows:
            changed = row.id in dirty
            if not changed and not reach:
                self._append(row.id, row.verdict)
                continue
            if self.sketch(row.id) is None and self._emptied(row):
                reach = self.parameters.lookback - 1
                continue
            done = self._judge_one(row)
            self._append(row.id, done.verdict.word)
            trusted = done.verdict.word != "untrusted"
            if changed or trusted != (row.verdict != "untrusted"):
                reach = self.parameters.lookback - 1
            elif trusted:
                reach -= 1
        self.words = self._order[clear:]

    def again(self, window_id: str) -> JudgedWindow:
        """Return what was judged of a window; one whose verdict did not change this time is judged once more."""
        if window_id not in self.judged:
            row = store.window_row(self.connection, self.monitor.name, window_id)
            assert row is not None  # it was in the list of windows of this transaction
            before = takewhile(lambda judged: judged.window != window_id, self._order)
            history = self._lookback([judged.window for judged in before if judged.word != "untrusted"], window_id)
            window = WindowRef(id=row.id, rows=row.rows, start=row.start, end=row.end, revision=row.revision)
            self.judged[window_id] = JudgedWindow(self._judge.window(self.sketches(history)), window, history)
        return self.judged[window_id]

    def trace(self, window_id: str | None = None) -> str | None:
        """Return the trace that what is said of a window belongs to: of what changed it, or else of the latest change of all."""
        own = self._traces.get(window_id) if window_id is not None else None
        return own or next((trace for name in reversed(self._ids) if (trace := self._traces.get(name))), None)

    def _append(self, window_id: str, word: str) -> None:
        self._order.append(Judged(window_id, word))
        if word != "untrusted":
            self._trusted.append(window_id)

    def sketch(self, window_id: str) -> TableSketch | None:
        """Return a window's sketch; None when it has no part."""
        if window_id not in self._sketches:
            self._load(window_id)
        self._sketches.move_to_end(window_id)
        return self._sketches[window_id]

    def _load(self, window_id: str) -> None:
        """Read the parts of a window and of those around it, for they are needed next; forget what was needed longest ago."""
        place = self._ids.index(window_id) if window_id in self._ids else 0
        near = self._ids[max(0, place - self.parameters.lookback + 1) : place + _AT_ONCE]
        wanted = [window_id, *(name for name in near if name not in self._sketches and name != window_id)]
        table, layout = store.part, self.baseline.layout
        rows = self.connection.execute(
            select(table.c.window, table.c.bucket, table.c.key, table.c.sketch).where(
                table.c.monitor == self.monitor.name, table.c.window.in_(wanted)
            )
        )
        found: dict[str, TableSketch] = {}
        with rows:  # one that is left open would have its connection see the past: SQLite keeps the snapshot of what is still read
            for row in rows:
                try:
                    part = decode_table(row.sketch, layout)
                except SketchError as exc:
                    raise DamagedPart(row.window, row.bucket, row.key, str(exc)) from exc
                if row.window in found:
                    found[row.window] += part
                else:
                    found[row.window] = part
        self._sketches |= {name: found.get(name) for name in wanted}
        while len(self._sketches) > self.parameters.lookback + 2 * _AT_ONCE:
            self._sketches.popitem(last=False)

    def sketches(self, windows: Sequence[str]) -> list[TableSketch]:
        """Return the sketches of windows that have parts."""
        return [sketch for window in windows if (sketch := self.sketch(window)) is not None]

    def _lookback(self, trusted: Sequence[str], window_id: str) -> tuple[str, ...]:
        """Return a window and as many of the trusted ones before it as its look-back holds."""
        reach = self.parameters.lookback - 1
        return (*(trusted[-reach:] if reach else ()), window_id)

    def _judge_one(self, row: Row[Any]) -> JudgedWindow:
        current, history = self.sketch(row.id), self._lookback(self._trusted, row.id)
        assert current is not None
        verdict = self._judge.window(self.sketches(history))
        revision = self._write(row, verdict, current.rows)
        window = WindowRef(id=row.id, rows=current.rows, start=row.start, end=row.end, revision=revision)
        self.judged[row.id] = JudgedWindow(verdict, window, history)
        if revision != row.revision and row.verdict not in (None, verdict.word):
            fact = VerdictRevised(monitor=self.monitor.name, window=window, before=row.verdict, after=verdict.word)
            self.outbox.add(self.connection, [fact], traceparent=self.trace(row.id))
        return self.judged[row.id]

    def _write(self, row: Row[Any], verdict: Verdict, rows: int) -> int:
        """Store a verdict; returns its revision, which is the one before if nothing changed."""
        detail = json.dumps(window_detail(verdict), sort_keys=True)
        content = digest(verdict.word, rows, detail)
        if row.digest == content:
            return int(row.revision)
        values = {
            "verdict": verdict.word,
            "rows": rows,
            "detail": detail,
            "digest": content,
            "revision": row.revision + 1,
            "judged_at": self.now,
        }
        self.connection.execute(_WRITE, values | {"of": self.monitor.name, "its_id": row.id})
        return int(row.revision) + 1

    def _emptied(self, row: Row[Any]) -> bool:
        """Take a window out of the list if every part was taken away; False if one is just being added."""
        self._hold(row.id)
        del self._sketches[row.id]
        if self.sketch(row.id) is not None:
            return False
        # The row stays: its revisions go on counting if the object comes back.
        self.connection.execute(_EMPTY, {"of": self.monitor.name, "its_id": row.id})
        return True
