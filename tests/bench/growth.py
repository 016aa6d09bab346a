"""How time grows with rows, columns and bins; one of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from driftsonde.core.api import Baseline, Sketch, judge
from driftsonde.core.counting import count_object
from driftsonde.core.readers import LocalSource

from . import data
from .measure import Options, interleaved, progress
from .tables import Table, figure, size

SECTION = "Growth: rows, columns, bins"
_BINS = 256
_Case = tuple[int, int, int]
"""Rows, columns, bins."""


def run(options: Options) -> list[Table]:
    """Measure each series."""
    base = options.rows(1_000_000)
    series: dict[str, list[_Case]] = {
        "rows": [(options.rows(rows), data.COLUMNS, _BINS) for rows in (10_000, 100_000, 1_000_000, 3_000_000)],
        "columns": [(base // 10, columns, _BINS) for columns in (5, 20, 100, 500)],
        "bins": [(base, data.COLUMNS, bins) for bins in (64, 256, 1024, 4096)],
    }
    return [_table(name, cases, options) for name, cases in series.items()]


def _table(name: str, cases: list[_Case], options: Options) -> Table:
    place = ("rows", "columns", "bins").index(name)
    works: dict[tuple[str, _Case], Callable[[], object]] = {}
    for case in cases:
        progress(f"{name}: {case[place]:,}")
        works |= _works(case)
    costs = interleaved(works, options.rounds)
    rows = []
    for case in cases:
        whole, judging = costs["whole", case].cpu, costs["judge", case].cpu
        first = costs["whole", cases[0]].cpu
        rows.append((
            size(case[place]) if name == "rows" else str(case[place]), figure(whole * 1e3), figure(whole / (case[0] * case[1]) * 1e9),
            figure(judging * 1e3), f"{case[place] / cases[0][place]:g} ×", f"{whole / first:.1f} ×",
        ))  # fmt: skip
    fixed = {"rows": f"{data.COLUMNS} columns", "columns": f"{size(cases[0][0])} rows", "bins": f"{size(cases[0][0])} rows × 20 columns"}
    head = (name, "Parquet to verdict, CPU ms", "CPU ns per value", "judge alone, CPU ms", f"{name} over the first", "time over the first")
    return Table(f"by {name} ({fixed[name]})", head, tuple(rows))


def _works(case: _Case) -> dict[tuple[str, _Case], Callable[[], object]]:
    rows, columns, bins = case
    path = data.parquet(rows, columns)
    baseline = Baseline.build(list(data.batches(50_000, columns, seed=1)), bins=bins)
    sketch = _count(baseline, path)
    return {("whole", case): lambda: judge(baseline, _count(baseline, path)), ("judge", case): lambda: judge(baseline, sketch)}


def _count(baseline: Baseline, path: Path) -> Sketch:
    return Sketch(baseline, count_object(baseline, LocalSource(path)))
