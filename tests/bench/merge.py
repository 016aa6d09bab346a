"""Parts: their size as bytes, and what encoding, decoding and merging ten thousand of them costs."""

from __future__ import annotations

from collections.abc import Sequence

from driftsonde.core.api import Baseline, Sketch
from driftsonde.core.sketch.codec import decode_table
from driftsonde.core.sketch.table import merge

from . import data
from .measure import Options, interleaved, progress
from .tables import Goal, Table, figure, size

SECTION = "Parts: encode, decode, merge"
_COLUMNS = 100
_PARTS, _DISTINCT = 10_000, 200
_DROP = 45


def run(options: Options) -> list[Table]:
    """Measure the size by rows, and the time of ten thousand small parts."""
    baseline = Baseline.build(list(data.batches(20_000, _COLUMNS, seed=1)))
    return [_sizes(baseline, options), _times(baseline, options)]


def merged(baseline: Baseline, parts: Sequence[bytes]) -> Sketch:
    """Merge encoded parts, as the detector does."""
    return Sketch(baseline, merge(baseline.layout, (decode_table(part, baseline.layout) for part in parts)))


def _sizes(baseline: Baseline, options: Options) -> Table:
    rows, goals = [], []
    for count in (_DROP, 10_000, options.rows(1_000_000)):
        progress(f"a part of {size(count)} rows")
        each = len(_part(baseline, count, seed=5).to_bytes()) / _COLUMNS / 1000
        rows.append((size(count), figure(each)))
        goals.append(Goal(f"a part of {size(count)} rows, per column", 0.6, each, at_least=False, unit="KB"))
    note = f"{_COLUMNS} numeric columns, 256 bins; parts over all columns, divided."
    return Table("bytes per numeric column", ("rows of the part", "KB"), tuple(rows), note, tuple(goals))


def _times(baseline: Baseline, options: Options) -> Table:
    count = options.rows(_PARTS)
    progress(f"merge {count:,} parts")
    sketches = [_part(baseline, _DROP, seed) for seed in range(_DISTINCT)]
    encoded = [sketch.to_bytes() for sketch in sketches]
    works = {
        "encode": lambda: [sketch.to_bytes() for sketch in sketches],
        "decode": lambda: [baseline.sketch(part) for part in encoded],
        "merge, decoded": lambda: [one.merge(sketches[0]) for one in sketches],
    }
    each = {name: cost.cpu / _DISTINCT for name, cost in interleaved(works, options.rounds).items()}
    parts = [encoded[index % _DISTINCT] for index in range(count)]
    total = interleaved({"all": lambda: merged(baseline, parts)}, options.rounds)["all"].cpu / count
    rows = [(name, figure(cost * 1e6), figure(cost * _PARTS)) for name, cost in {**each, "decode and merge into one": total}.items()]
    goal = Goal(f"decode and merge {_PARTS:,} parts", 1.0, total * _PARTS, at_least=False, unit="s")
    note = f"Parts of {_DROP} rows × {_COLUMNS} columns; {_DISTINCT} different ones, {count:,} in all."
    return Table(f"CPU time of {_PARTS:,} parts", ("step", "µs per part", "s for all"), tuple(rows), note, (goal,))


def _part(baseline: Baseline, rows: int, seed: int) -> Sketch:
    sketch = baseline.sketch()
    for batch in data.batches(rows, _COLUMNS, seed=1_000 + seed):
        sketch.update(batch)
    return sketch
