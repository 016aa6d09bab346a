"""One measured comparison of a column, and what of the column moved."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from driftsonde.core.drift.ks import Bracket
from driftsonde.core.drift.psi import level_groups, numeric_groups
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Counts
from driftsonde.core.sketch.numeric import NumericBins

CheckName = Literal["ks", "tv", "psi", "nulls", "outside", "invalid"]


class Check(NamedTuple):
    """One measured comparison.

    Args:
        name: which check.
        score: the effect; higher is worse, always.
        threshold: T.
        critical: the score from which it alarms.
        p_value: of the interval null "the effect is at most margin × T".
        p_unchanged: of "nothing changed"; for information.
        n: values of the window that it is based on.
        m: values of the baseline.
        interval: 95 % confidence interval of the score.
        bracket: for ks, what binning leaves open.
        drift: whether it alarms.
        lookback: windows that were merged.
    """

    name: CheckName
    score: float
    threshold: float
    critical: float
    p_value: float
    p_unchanged: float
    n: int
    m: int
    interval: tuple[float, float]
    bracket: Bracket | None
    drift: bool
    lookback: int = 1

    @property
    def is_share(self) -> bool:
        """Whether it tests the quality of values rather than their distribution."""
        return self.name in ("nulls", "outside", "invalid")

    @property
    def certain(self) -> bool:
        """Whether the raw values would have given the same answer: False where the critical value lies within the bracket."""
        return self.bracket is None or not self.bracket.lower < self.critical <= self.bracket.upper


def largest_moves(column: ColumnBaseline, window: ColumnSketch, count: int = 5) -> list[tuple[str, float, float]]:
    """Return the bins or levels whose share changed most, as (label, baseline share, window share)."""
    if column.bins is None or not window.valid or not column.sketch.valid:
        return []
    before, after = column.sketch.counts / column.sketch.valid, window.counts / window.valid
    order = np.argsort(-np.abs(after - before), kind="stable")[:count]
    return [(column.bins.label(int(i)), float(before[i]), float(after[i])) for i in order if before[i] != after[i]]


def grouped(column: ColumnBaseline, window: Counts, psi_bins: int) -> tuple[Counts, Counts]:
    """Return a column's counts by the groups that PSI is taken over, the baseline's and the window's."""
    before = column.sketch.counts
    groups = level_groups(before) if isinstance(column.bins, Levels) else numeric_groups(before, psi_bins)
    sums = groups.sums(before), groups.sums(window)
    there = (sums[0] > 0) | (sums[1] > 0) | isinstance(column.bins, NumericBins)
    return sums[0][there], sums[1][there]
