"""What one column of a drop, a window or a whole baseline amounts to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


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
