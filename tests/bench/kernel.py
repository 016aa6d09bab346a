"""Nanoseconds of CPU per value of `Sketch.update`, by kind of column and size of batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from driftsonde.core.api import Baseline

from . import data
from .measure import Options, interleaved, progress
from .tables import Table, figure, size

SECTION = "Kernel: counting a batch"
_COLUMNS = 4
_REFERENCE_ROWS = 100_000
_SIZES = (1_000, 8_000, 64_000, 100_000, 1_000_000)


def run(options: Options) -> list[Table]:
    """Measure each kind at each size."""
    sizes = _SIZES[:-1] if options.quick else _SIZES
    baselines = {kind: Baseline.build(_batch(make, _REFERENCE_ROWS, 1)) for kind, make in KINDS.items()}
    cells: dict[str, list[str]] = {kind: [kind] for kind in KINDS}
    for rows in sizes:
        progress(f"batches of {size(rows)} rows")
        works = {kind: _work(baselines[kind], _batch(make, rows, 2)) for kind, make in KINDS.items()}
        for kind, cost in interleaved(works, options.rounds).items():
            cells[kind].append(figure(cost.cpu / (rows * _COLUMNS) * 1e9))
    note = f"{_COLUMNS} columns of one kind in a record batch; a new sketch each time, so its making is included. 256 bins or 30 levels."
    head = ("kind of column", *(size(rows) for rows in sizes))
    return [Table("CPU ns per value, by rows of a batch", head, tuple(tuple(row) for row in cells.values()), note)]


def _work(baseline: Baseline, batch: pa.RecordBatch) -> Callable[[], object]:
    return lambda: baseline.sketch().update(batch)


def _batch(make: Callable[[np.random.Generator, int], pa.Array], rows: int, seed: int) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    return pa.RecordBatch.from_arrays([make(rng, rows) for _ in range(_COLUMNS)], names=data.names(_COLUMNS))


def _with_missing(rng: np.random.Generator, rows: int, *, null: bool) -> pa.Array:
    return pa.array(data.draw(0, rows, rng), from_pandas=null)


def _decimals(rng: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(rng.integers(0, 1_000_000, rows)).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2))


def _words(rng: np.random.Generator, rows: int) -> pa.DictionaryArray:
    words = pa.array([f"level_{level:02d}" for level in range(30)])
    return pa.DictionaryArray.from_arrays(pa.array(np.minimum(rng.geometric(0.1, rows) - 1, 29).astype(np.int32)), words)


KINDS: dict[str, Callable[[np.random.Generator, int], pa.Array]] = {
    "float64, continuous": lambda rng, n: pa.array(rng.normal(size=n)),
    "float64, 5 % null": lambda rng, n: _with_missing(rng, n, null=True),
    "float64, 5 % NaN": lambda rng, n: _with_missing(rng, n, null=False),
    "float64, 80 whole numbers": lambda rng, n: pa.array(np.round(rng.normal(50, 10, n))),
    "float64, 10,000 whole numbers": lambda rng, n: pa.array(rng.integers(0, 10_000, n).astype(np.float64)),
    "float64, constant": lambda _, n: pa.array(np.full(n, 7.0)),
    "float32, continuous": lambda rng, n: pa.array(rng.normal(size=n).astype(np.float32)),
    "int64, wide": lambda rng, n: pa.array(rng.integers(0, 1 << 40, n)),
    "int64, 0 to 30,000": lambda rng, n: pa.array(rng.integers(0, 30_000, n)),
    "int16": lambda rng, n: pa.array(rng.integers(0, 30_000, n).astype(np.int16)),
    "bool": lambda rng, n: pa.array(rng.random(n) < 0.3),
    "decimal(21, 2)": _decimals,
    "text, dictionary of 30": _words,
    "text, plain": lambda rng, n: _words(rng, n).cast(pa.string()),
}
