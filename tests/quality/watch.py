"""Our own rule as a user runs it: sketches of windows in order, each judged with those before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from driftsonde.core.api import Baseline, Parameters, Sketch, Verdict, judge

from .data import Column, Matrix, draw_table, levels_of, to_batch

LOOKBACK = Parameters().lookback
BASELINE_ROWS = 20_000
OURS = "driftsonde"
OURS_SMALL = f"{OURS}, min_rows 50"


DEFAULT = Parameters()
SMALL = Parameters(min_rows=50)
"""With nulls among them, a hundred rows are fewer than the hundred values that the default asks of a window by itself."""


def policies(rows: int) -> dict[str, Parameters]:
    """Return the policies that windows of so many rows are judged by."""
    return {OURS: DEFAULT, OURS_SMALL: SMALL} if rows <= DEFAULT.min_rows else {OURS: DEFAULT}


@dataclass
class Watch:
    """A baseline and its last windows."""

    baseline: Baseline
    history: deque[Sketch] = field(default_factory=lambda: deque(maxlen=LOOKBACK))

    def see(self, window: pa.RecordBatch | pa.Table) -> Verdict:
        """Sketch a window, once, and judge it."""
        self.history.append(self.baseline.sketch().update(window))
        verdict = judge(self.baseline, list(self.history))
        if verdict.word == "untrusted":
            self.history.pop()
        return verdict

    def flags(self, windows: Iterable[pa.RecordBatch]) -> list[frozenset[str]]:
        """Return the columns that alarm in each window."""
        return [alarming(self.see(window)) for window in windows]

    def flags_by_policy(self, windows: Iterable[pa.RecordBatch], rows: int) -> dict[str, list[frozenset[str]]]:
        """Return the columns that alarm in each window, by policy; no window may be untrusted."""
        found: dict[str, list[frozenset[str]]] = {name: [] for name in policies(rows)}
        for window in windows:
            self.history.append(self.baseline.sketch().update(window))
            for name, policy in policies(rows).items():
                found[name].append(alarming(judge(self.baseline, list(self.history), policy)))
        return found


def alarming(verdict: Verdict) -> frozenset[str]:
    """Return the names of the columns that alarm."""
    return frozenset(column.name for column in verdict.columns if column.alarms)


@dataclass(frozen=True)
class Simulated:
    """A simulated table with a baseline of its own."""

    columns: Sequence[Column]
    random: np.random.Generator
    rows: Mapping[str, Matrix]
    watch: Watch

    def batches(self, drawn: Mapping[str, Matrix]) -> Iterable[pa.RecordBatch]:
        """Return drawn windows as Arrow batches."""
        levels = levels_of(self.columns)
        return (to_batch(levels, drawn, window) for window in range(len(next(iter(drawn.values())))))


def simulate(columns: Sequence[Column], seed: Sequence[int], rows: int = BASELINE_ROWS) -> Simulated:
    """Draw a baseline of a table and build it."""
    random = np.random.default_rng(list(seed))
    drawn = draw_table(random, columns, rows)
    return Simulated(columns, random, drawn, Watch(Baseline.build(to_batch(levels_of(columns), drawn, 0))))
