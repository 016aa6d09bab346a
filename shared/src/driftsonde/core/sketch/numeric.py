"""Bins of a numeric column, and how values are counted into them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.sketch.counts import ColumnSketch, Floats
from driftsonde.core.sketch.cuts import Cuts, Mask, Numbers, TooLargeError

_EXACT = 1 << 53
"""Integers below this are the same as floats."""


@dataclass(frozen=True, eq=False)
class NumericBins:
    """Right-closed bins: bin i is (edges[i-1], edges[i]], the outer two are open.

    Args:
        edges: shape (k,), strictly increasing, finite. The first is the float just below the baseline's minimum and the
            last is its maximum, so bin 0 and bin k hold what lies outside the baseline's range. Only the first may be
            -inf: that is what lies just below the least float.
    """

    edges: Floats

    def __post_init__(self) -> None:
        edges = self.edges
        # Compared, not subtracted: the difference of two large floats overflows.
        if edges.ndim != 1 or len(edges) < 2 or not np.all(edges[1:] > edges[:-1]) or not np.all(np.isfinite(edges[1:])):
            raise ValueError("edges must be at least two finite, strictly increasing numbers")

    @property
    def size(self) -> int:
        """Number of bins, the outer two included."""
        return len(self.edges) + 1

    def single_valued(self) -> NDArray[np.bool_]:
        """Return, shape (size,), which bins can hold one value only: those whose left edge is the float just below the right."""
        single = np.zeros(self.size, dtype=bool)
        single[1:-1] = _just_below(self.edges[1:]) == self.edges[:-1]
        return single

    def count(self, values: Numbers, present: Mask | None = None) -> ColumnSketch:
        """Count values into the bins; NaN is null, infinities are invalid.

        Args:
            values: shape (n,), integers or floats in any order; counted as they are, without widening them.
            present: shape (n,), false where a value is null whatever stands in its place; None if that is nowhere.
        """
        if values.dtype.kind == "f":
            below = self._float_cuts(values.dtype).below(values, present)
            return ColumnSketch(np.diff(below[:-1]), int(len(values) - below[-1]), int(below[0] + below[-1] - below[-2]))
        try:
            below = self._integer_cuts.below(values, present)
        except TooLargeError:
            return self.count(values.astype(np.float64), present)  # rounded, as those were that the edges come from
        there = len(values) if present is None else int(np.count_nonzero(present))
        return ColumnSketch(np.diff(below, prepend=0, append=there), len(values) - there)

    def _float_cuts(self, dtype: np.dtype[Any]) -> Cuts:
        """Return -inf, the edges, the greatest float and inf, so that one look-up finds what is not finite too.

        In a narrower type each edge is rounded down: the same floats of that type lie at or below it.
        """
        if dtype not in self._cuts:
            with np.errstate(over="ignore"):
                rounded = self.edges.astype(dtype)
                floors = np.where(rounded > self.edges, np.nextafter(rounded, dtype.type(-np.inf)), rounded)
            self._cuts[dtype] = Cuts(np.concatenate([[-np.inf], floors, [np.finfo(dtype).max, np.inf]]).astype(dtype))
        return self._cuts[dtype]

    @cached_property
    def _cuts(self) -> dict[np.dtype[Any], Cuts]:
        return {}

    @cached_property
    def _integer_cuts(self) -> Cuts:
        """Return the edges rounded down: the same integers lie at or below them."""
        return Cuts(np.clip(np.floor(self.edges), -_EXACT, _EXACT).astype(np.int64))

    def label(self, index: int) -> str:
        """Return a bin's name for people, e.g. `(3.2, 4.1]` or `= 7`."""
        if index == 0:
            return f"< {self.edges[1] if self.single_valued()[1] else self.edges[0]:g}"
        if index == len(self.edges):
            return f"> {self.edges[-1]:g}"
        if self.single_valued()[index]:
            return f"= {self.edges[index]:g}"
        return f"({self.edges[index - 1]:g}, {self.edges[index]:g}]"


def fit_numeric(sample: Floats, *, minimum: float, maximum: float, distinct: Floats | None, bins: int) -> NumericBins:
    """Choose edges from baseline values (statistics: 2.1).

    Args:
        sample: shape (n,), n >= 1, finite: all values or a uniform sample of them.
        minimum: smallest value of all, not of the sample alone.
        maximum: largest value of all.
        distinct: every distinct value in order if there are at most `bins`, else None.
        bins: how many equal masses to cut into.

    Returns:
        With few distinct values one bin for each, so that the distance is exact; else quantile edges, and a bin of its own
        for each value that holds at least 1/bins of the sample.
    """
    if distinct is not None:
        atoms = distinct
        cuts = distinct
    else:
        ordered = np.sort(sample)
        ranks = np.ceil(np.arange(1, bins) * len(ordered) / bins).astype(np.int64) - 1  # "inverted_cdf"
        cuts = np.concatenate([ordered[ranks], [maximum]])
        values, counts = np.unique(ordered, return_counts=True)
        atoms = values[counts >= len(ordered) / bins]
    below = _just_below(np.concatenate([atoms, [minimum]]))
    # Adding 0.0 turns -0.0 into 0.0: which of the two equals came first must not show in the digest.
    return NumericBins(np.unique(np.concatenate([cuts, atoms, below]).astype(np.float64)) + 0.0)


def _just_below(values: Floats) -> Floats:
    with np.errstate(over="ignore"):  # below the least float lies -inf
        return np.nextafter(values, -np.inf)
