"""One measured comparison of a column, and what of the column moved."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np

from driftsonde.core.drift.ks import Bracket
from driftsonde.core.drift.psi import level_groups, numeric_groups
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Counts
from driftsonde.core.sketch.numeric import NumericBins

OptionalName = Literal["js", "hellinger", "chi2", "g", "wasserstein"]
CheckName = Literal["ks", "tv", "psi", "nulls", "outside", "invalid", "js", "hellinger", "chi2", "g", "wasserstein"]

_SHARE: Final = "change of a share; exact binomial tail at a confidence limit of the baseline's share (Berger-Boos)"
METHODS: Final[dict[str, str]] = {
    "ks": "two-sample Kolmogorov-Smirnov distance on frozen bins; DKW-Massart tail",
    "tv": "total variation distance over frozen levels; McDiarmid tail above its bias",
    "psi": "population stability index over groups, less its bias; normal tail, delta-method error",
    "nulls": _SHARE,
    "outside": _SHARE,
    "invalid": _SHARE,
    "js": "Jensen-Shannon distance (base 2) over groups; asymptotic chi-squared tail of no change",
    "hellinger": "Hellinger distance over groups; asymptotic chi-squared tail of no change",
    "chi2": "Cohen's w of Pearson's chi-squared test of homogeneity over groups",
    "g": "Cohen's w of the G-test of homogeneity over groups",
    "wasserstein": "Wasserstein distance over the baseline's sd, from bins; DKW-Massart margin times the range",
}
"""How each check is computed, in one line."""

OUTSIDE_OF_RANGE: Final = 2
"""Of m rows: what lies beyond the minimum and the maximum of m values is 2 / (m + 1) on average."""


class Check(NamedTuple):
    """One measured comparison.

    Args:
        name: which check.
        score: the effect; higher is worse, always.
        threshold: T.
        critical: the score from which it alarms; of nulls and invalid values: from which a rise does.
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


class ShareCounts(NamedTuple):
    """What a share check is computed from.

    Args:
        counted: values of the window that are missing, invalid or outside.
        n: of how many.
        baseline_counted: what the limits of the baseline's own share are taken from: for `outside` what may be expected beyond
            a range, or the levels that were seen once.
        m: of how many.
        expected: the share that a change is measured from.
    """

    counted: int
    n: int
    baseline_counted: int
    m: int
    expected: float


def share_counts(column: ColumnBaseline, window: ColumnSketch, name: str) -> ShareCounts:
    """Return what the share check `name` of a column is computed from; the window must have values that it counts among."""
    before, numeric = column.sketch, isinstance(column.bins, NumericBins)
    if name == "nulls":
        return _share(window.nulls, window.rows, before.nulls, before.rows)
    if name == "invalid":
        return _share(window.invalid, window.valid + window.invalid, before.invalid, before.rows - before.nulls)
    outside = int(window.counts[-1]) + (int(window.counts[0]) if numeric else 0)
    found = _share(outside, window.valid, OUTSIDE_OF_RANGE if numeric else column.singletons, before.valid)
    # Nothing lies outside a numeric baseline's own range; what 2 of m allow for goes into the p-value alone.
    return found._replace(expected=0.0) if numeric else found


def _share(x: int, n: int, y: int, m: int) -> ShareCounts:
    return ShareCounts(x, n, min(y, m), m, min(y, m) / m)


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
