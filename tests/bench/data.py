"""The data that everything is measured on, made once and kept under .bench/data.

W1: 20 float64 columns with 5 % missing values; continuous ones, heavy tails, ties, and atoms (one value that many rows share).
W2: 5 columns of text.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .measure import CACHE, progress

Floats = NDArray[np.float64]
VERSION = 2
"""Raise it when the data change, so that no cached file is used."""

COLUMNS = 20
REFERENCE_ROWS = 100_000  # of sections that are not about the reference; W1's own has as many rows as its window
ROW_GROUP = 100_000
MISSING = 0.05
_Draw = Callable[[np.random.Generator, int], Floats]

_DRAWS: tuple[_Draw, ...] = (
    lambda rng, n: rng.normal(size=n),
    lambda rng, n: rng.normal(1000.0, 1.0, n),
    lambda rng, n: rng.uniform(size=n),
    lambda rng, n: rng.gamma(2.0, 3.0, n),
    lambda rng, n: rng.beta(0.5, 0.5, n),
    lambda rng, n: rng.exponential(5.0, n),
    lambda rng, n: np.where(rng.random(n) < 0.4, rng.normal(-3, 0.1, n), rng.normal(3, 0.1, n)),  # two narrow hills
    lambda rng, n: rng.lognormal(0.0, 1.0, n),
    lambda rng, n: rng.lognormal(8.0, 2.5, n),  # heavy tails from here
    lambda rng, n: rng.standard_cauchy(n),
    lambda rng, n: rng.pareto(1.2, n),
    lambda rng, n: rng.standard_t(2, n),
    lambda rng, n: np.round(rng.normal(50, 10, n)),  # ties from here
    lambda rng, n: np.round(rng.gamma(2.0, 20.0, n), 2),
    lambda rng, n: rng.poisson(4, n).astype(np.float64),
    lambda rng, n: rng.integers(0, 10_000, n).astype(np.float64),
    lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.exponential(10, n)),  # atoms from here
    lambda rng, n: np.minimum(rng.exponential(30, n), 60.0),
    lambda rng, n: np.where(rng.random(n) < 0.3, 99.0, rng.normal(40, 15, n)),
    lambda rng, n: np.where(rng.random(n) < 0.1, -1.0, np.round(rng.lognormal(3, 1, n), 1)),
)


def draw(kind: int, rows: int, rng: np.random.Generator, *, missing: float = MISSING) -> Floats:
    """Draw one column of W1, NaN where a value is missing."""
    values = _DRAWS[kind % COLUMNS](rng, rows)
    values[rng.random(rows) < missing] = np.nan
    return values


def names(columns: int) -> list[str]:
    """Return the columns' names."""
    return [f"x{index:03d}" for index in range(columns)]


def batch(columns: list[Floats]) -> pa.RecordBatch:
    """Make a record batch; NaN becomes null."""
    return pa.RecordBatch.from_arrays([pa.array(values, from_pandas=True) for values in columns], names=names(len(columns)))


def batches(rows: int, columns: int, seed: int, *, each: int = ROW_GROUP, missing: float = MISSING) -> Iterator[pa.RecordBatch]:
    """Yield W1-like record batches, in memory that does not grow with the rows."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, each):
        yield batch([draw(kind, min(each, rows - start), rng, missing=missing) for kind in range(columns)])


def texts(rows: int, seed: int) -> pa.RecordBatch:
    """Return W2: text columns of 2 to 30 levels, 5 % missing."""
    rng = np.random.default_rng(seed)
    arrays = []
    for levels in (2, 5, 10, 20, 30):
        codes = np.minimum(rng.geometric(2 / levels, rows) - 1, levels - 1)
        words = pa.array([f"level_{level:02d}" for level in range(levels)])
        arrays.append(words.take(pa.array(codes, mask=rng.random(rows) < MISSING)))
    return pa.RecordBatch.from_arrays(arrays, names=[f"s{index}" for index in range(len(arrays))])


def w1(rows: int) -> Path:
    """Return the folder with W1: reference.npy and window.npy of shape (columns, rows), and the window as files."""
    return _cached(f"w1-{rows}", lambda folder: _write_w1(folder, rows))


def parquet(rows: int, columns: int, *, group: int = ROW_GROUP) -> Path:
    """Return a Parquet file of W1-like columns, written in memory that does not grow with the rows."""

    def write(folder: Path) -> None:
        with pq.ParquetWriter(folder / "window.parquet", batch([np.empty(0)] * columns).schema, compression="snappy") as writer:
            for part in batches(rows, columns, seed=3, each=group):
                writer.write_batch(part, row_group_size=group)

    return _cached(f"parquet-{rows}x{columns}-{group}", write) / "window.parquet"


def _cached(name: str, write: Callable[[Path], None]) -> Path:
    folder = CACHE / "data" / f"v{VERSION}-{name}"
    if not folder.exists():
        progress(f"make {name}")
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(unfinished)
        unfinished.rename(folder)  # what was interrupted is never taken for whole
    return folder


def _write_w1(folder: Path, rows: int) -> None:
    for name, seed in (("reference", 1), ("window", 2)):
        rng = np.random.default_rng(seed)
        columns = [draw(kind, rows, rng) for kind in range(COLUMNS)]
        if name == "window":
            _move(columns)
        np.save(folder / f"{name}.npy", np.stack(columns))
    table = pa.Table.from_batches([batch(columns)])
    pq.write_table(table, folder / "window.parquet", compression="snappy", row_group_size=ROW_GROUP)
    pacsv.write_csv(table, folder / "window.csv")
    _write_lines(table, folder / "window.jsonl")


def _move(columns: list[Floats]) -> None:
    """Let a quarter of the columns drift a little, so that there is something to find."""
    for kind in (0, 3, 7, 12, 17):
        columns[kind] *= 1.2


def _write_lines(table: pa.Table, path: Path) -> None:
    with path.open("w") as file:
        for part in table.to_batches(max_chunksize=10_000):
            rows: list[dict[str, Any]] = part.to_pylist()
            file.writelines(json.dumps(row) + "\n" for row in rows)
