"""What a verdict costs, by columns and windows of the look-back."""

from __future__ import annotations

from collections.abc import Callable

from driftsonde.core.api import Baseline, Sketch, judge

from . import data
from .measure import Options, interleaved, progress
from .tables import Table, figure

SECTION = "Judge: a verdict"
_COLUMNS, _WINDOWS = (20, 50, 500), (1, 32)
_STATES: dict[str, tuple[int, float]] = {
    "1,000 rows, nothing moved": (1_000, data.MISSING),
    "1,000 rows, four times the nulls in all columns": (1_000, 4 * data.MISSING),
    "45 rows, nothing moved": (45, data.MISSING),
}
"""Rows of a window and share of missing values. What chance does in 45 rows is not small, so judging looks back through all windows."""


def run(options: Options) -> list[Table]:
    """Measure each combination, with data that did not move and with data that did, and with windows too small to say."""
    works: dict[tuple[int, str, int], Callable[[], object]] = {}
    for columns in _COLUMNS:
        progress(f"{columns} columns")
        baseline = Baseline.build(list(data.batches(10_000, columns, seed=1)))
        for state, (rows_each, missing) in _STATES.items():
            windows = [_window(baseline, columns, seed, rows_each, missing) for seed in range(2, 2 + max(_WINDOWS))]
            works |= {(columns, state, count): _work(baseline, windows[:count]) for count in _WINDOWS}
    costs = interleaved(works, options.rounds)
    rows = [
        (str(columns), state, *(figure(costs[columns, state, count].cpu * 1e3) for count in _WINDOWS))
        for columns, state, count in works if count == _WINDOWS[0]
    ]  # fmt: skip
    head = ("columns", "windows", *(f"{count} window{'s' if count > 1 else ''}" for count in _WINDOWS))
    return [Table("CPU ms of one `judge`", head, tuple(rows))]


def _work(baseline: Baseline, windows: list[Sketch]) -> Callable[[], object]:
    return lambda: judge(baseline, windows)


def _window(baseline: Baseline, columns: int, seed: int, rows: int, missing: float) -> Sketch:
    sketch = baseline.sketch()
    for batch in data.batches(rows, columns, seed=seed, missing=missing):
        sketch.update(batch)
    return sketch
