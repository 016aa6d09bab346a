"""What one drop, one window or a whole baseline amounts to: integer counts per column, so that merging is addition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from driftsonde.core.sketch.numeric import Counts


@dataclass(slots=True, eq=False)
class ColumnSketch:
    """Counts of one column.

    `a + b` equals one sketch fed both streams, in any order and any split.

    Args:
        counts: shape (bins,), how many valid values fell into each bin or level.
        nulls: missing values (None, NaN, empty text in a numeric column).
        invalid: values that are not what the column holds (text that is no number, infinities).
    """

    counts: Counts
    nulls: int = 0
    invalid: int = 0

    @property
    def valid(self) -> int:
        """Values that were counted into a bin."""
        return int(self.counts.sum())

    @property
    def rows(self) -> int:
        """Rows in which the column was present."""
        return self.valid + self.nulls + self.invalid

    def __add__(self, other: ColumnSketch) -> ColumnSketch:
        """Merge; neither side is changed.

        Raises:
            ValueError: if the bins differ in number.
        """
        if len(self.counts) != len(other.counts):
            raise ValueError("sketches have different bins")
        return ColumnSketch(self.counts + other.counts, self.nulls + other.nulls, self.invalid + other.invalid)

    __hash__ = None  # type: ignore[assignment]  # mutable: not to be a key

    def __eq__(self, other: object) -> bool:
        """Equal counts, all of them."""
        return (
            isinstance(other, ColumnSketch)
            and (self.nulls, self.invalid) == (other.nulls, other.invalid)
            and np.array_equal(self.counts, other.counts)
        )


@dataclass(slots=True)
class TableSketch:
    """Counts of all watched columns over the bins of one baseline.

    Args:
        baseline: digest of the baseline whose bins these are.
        rows: rows read.
        bad_rows: rows that could not be parsed at all (and are in no column).
        unreadable: drops that could not be read.
        columns: by name; a column that was in no drop is not there.
        new: columns that the baseline does not know.
    """

    baseline: str
    rows: int = 0
    bad_rows: int = 0
    unreadable: int = 0
    columns: dict[str, ColumnSketch] = field(default_factory=dict)
    new: frozenset[str] = frozenset()

    def __add__(self, other: TableSketch) -> TableSketch:
        """Merge; neither side is changed.

        Raises:
            ValueError: if the two belong to different baselines.
        """
        if self.baseline != other.baseline:
            raise ValueError("sketches belong to different baselines")
        columns = dict(self.columns)
        for name, column in other.columns.items():
            columns[name] = columns[name] + column if name in columns else column
        return TableSketch(
            self.baseline, self.rows + other.rows, self.bad_rows + other.bad_rows, self.unreadable + other.unreadable,
            columns, self.new | other.new,
        )  # fmt: skip

    def add(self, name: str, column: ColumnSketch) -> None:
        """Fold a column's counts in."""
        self.columns[name] = self.columns[name] + column if name in self.columns else column


def merge(baseline: str, sketches: Iterable[TableSketch]) -> TableSketch:
    """Merge any number of sketches of one baseline; none gives the empty sketch."""
    total = TableSketch(baseline)
    for sketch in sketches:
        total = total + sketch
    return total
