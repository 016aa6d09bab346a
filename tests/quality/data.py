"""Simulated tables with everything known about them: of ten columns six or seven are numbers, the rest categories; 2 % are missing.

Every value is a function of one standard normal number, so that "the mean moves by half a standard deviation" means something
for a category too: its levels are cut out of the normal distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import poisson

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
Matrix = NDArray[Any]
"""Shape (windows, rows): floats with NaN where nothing is, or codes of levels with -1 there."""

NULLS = 0.02
UNSEEN = "never seen before"
_BITS = 1 << 16


@dataclass(frozen=True)
class Change:
    """What happens to a column: none of it by default.

    Args:
        shift: added to the normal number, in its standard deviations.
        scale: multiplies it.
        nulls: share of missing values.
        outside: share of rows moved beyond the baseline's range, or to a level that it has not.
        invalid: share of infinite values.
        mix: share of rows moved to the column's last level; of a number, of rows replaced by the median.
    """

    shift: float = 0.0
    scale: float = 1.0
    nulls: float = NULLS
    outside: float = 0.0
    invalid: float = 0.0
    mix: float = 0.0


NOTHING = Change()


@dataclass(frozen=True)
class Column:
    """One simulated column."""

    name: str
    kind: Literal["normal", "lognormal", "poisson", "levels"]
    levels: tuple[str, ...] = ()
    cuts: Floats = field(default_factory=lambda: np.empty(0), compare=False)

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers."""
        return self.kind != "levels"

    def draw(self, random: np.random.Generator, windows: int, rows: int, change: Change = NOTHING, shifts: Floats | None = None) -> Matrix:
        """Draw windows of values: floats with NaN for null, or codes with -1 for null.

        Args:
            rows: of each window.
            shifts: shape (windows,), on top of the change's.
        """
        moved = change.shift + (np.zeros(windows) if shifts is None else shifts)
        values = self._discrete(random, rows, moved, change.scale) if len(self.cuts) else self._smooth(random, rows, moved, change.scale)
        flat = values.reshape(-1)
        self._spoil(random, flat, change)
        return values

    def _smooth(self, random: np.random.Generator, rows: int, shifts: Floats, scale: float) -> Matrix:
        latent = random.standard_normal((len(shifts), rows))
        if scale != 1.0:
            latent *= scale
        if shifts.any():
            latent += shifts[:, None]
        return np.exp(latent, out=latent) if self.kind == "lognormal" else latent

    def _discrete(self, random: np.random.Generator, rows: int, shifts: Floats, scale: float) -> Matrix:
        """Cut the normal number by looking 16 random bits up, which is ten times faster than drawing it."""
        bits = random.integers(0, _BITS, (len(shifts), rows), dtype=np.uint16)
        values = np.empty(bits.shape, dtype=np.float64 if self.numeric else np.int32)
        for window, shift in enumerate(shifts):
            ends = np.round(ndtr((self.cuts - shift) / scale) * _BITS).astype(np.intp)
            lookup = np.repeat(np.arange(len(ends) + 1, dtype=values.dtype), np.diff(ends, prepend=0, append=_BITS))
            np.take(lookup, bits[window], out=values[window])
        return values

    def _spoil(self, random: np.random.Generator, values: Matrix, change: Change) -> None:
        usual = float(self.cuts.searchsorted(0.0)) if len(self.cuts) else float(self.kind == "lognormal")
        values[_chosen(random, len(values), change.mix)] = usual if self.numeric else len(self.levels) - 2
        values[_chosen(random, len(values), change.outside)] = 1e6 if self.numeric else len(self.levels) - 1
        if change.invalid:
            values[_chosen(random, len(values), change.invalid)] = np.inf
        values[_chosen(random, len(values), change.nulls)] = np.nan if self.numeric else -1


def _chosen(random: np.random.Generator, rows: int, share: float) -> NDArray[np.intp]:
    """Return places, each chosen with the same probability and some of them twice."""
    # That many draws with replacement leave a place out with the probability that it should be left out with.
    return random.integers(0, rows, random.poisson(-np.log1p(-share) * rows)) if share else np.empty(0, dtype=np.intp)


def _levels(name: str, count: int) -> Column:
    """Return a category whose shares fall as 1 / (rank + 2); the very last of its names is never drawn."""
    weights = 1 / (np.arange(count) + 3.0)
    cuts = ndtri(np.cumsum(weights / weights.sum())[:-1])
    return Column(name, "levels", (*(f"level {i}" for i in range(count)), UNSEEN), cuts)


def _poisson(name: str, mean: float) -> Column:
    return Column(name, "poisson", cuts=ndtri(poisson.cdf(np.arange(30), mean)[poisson.cdf(np.arange(30), mean) < 1 - 1e-12]))


def ten() -> list[Column]:
    """Return the ten columns that larger tables repeat."""
    normals = [Column(f"normal {i}", "normal") for i in range(5)]
    return [*normals, Column("lognormal", "lognormal"), _poisson("poisson", 3.0), *(_levels(f"{k} levels", k) for k in (2, 8, 40))]


def table(columns: int) -> list[Column]:
    """Return the columns of a table: the ten, repeated; five are two normal, one lognormal, two categorical ones."""
    base = ten()
    if columns == 5:
        return [base[i] for i in (0, 1, 5, 7, 8)]
    return [replace(base[i % 10], name=f"{base[i % 10].name} #{i // 10}") for i in range(columns)]


def draw_table(
    random: np.random.Generator, columns: Sequence[Column], rows: int, *, windows: int = 1,
    changes: Mapping[str, Change] | None = None, shifts: Floats | None = None,
) -> dict[str, Matrix]:  # fmt: skip
    """Draw windows of a table.

    Args:
        rows: of each window.
        changes: what happens to which column.
        shifts: shape (windows, columns), what moves each window's mean.

    Returns:
        A matrix of shape (windows, rows) for each column.
    """
    found = {}
    for index, column in enumerate(columns):
        change = (changes or {}).get(column.name, NOTHING)
        found[column.name] = column.draw(random, windows, rows, change, None if shifts is None else shifts[:, index])
    return found


def to_batch(levels: Mapping[str, Sequence[str]], values: Mapping[str, Matrix], window: int) -> pa.RecordBatch:
    """Return one window as an Arrow batch.

    Args:
        levels: the names behind the codes, of columns that hold codes.
    """
    arrays = [_array(matrix[window], levels.get(name)) for name, matrix in values.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(values))


def levels_of(columns: Sequence[Column]) -> dict[str, Sequence[str]]:
    """Return the names behind the codes of a table's categories."""
    return {column.name: column.levels for column in columns if not column.numeric}


def _array(values: Matrix, levels: Sequence[str] | None) -> pa.Array:
    if levels is None:
        return pa.array(values)
    return pa.DictionaryArray.from_arrays(pa.array(values, mask=values < 0), pa.array(levels))
