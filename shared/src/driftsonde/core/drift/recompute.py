"""One check from its counts alone: what an event says can be computed again, by formulas that take one column at a time.

A verdict computes all columns at once (`reference`); here nothing is shared with it but the formulas themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from driftsonde.core.drift.checks import OUTSIDE_OF_RANGE, ShareCounts, grouped, share_counts
from driftsonde.core.drift.ks import Bracket, ks_critical, ks_distance, ks_margin, ks_p_value
from driftsonde.core.drift.psi import psi, psi_critical, psi_p_value
from driftsonde.core.drift.shares import share_critical, share_interval, share_limits, share_p_value
from driftsonde.core.drift.tv import tv_bias, tv_critical, tv_distance, tv_margin, tv_p_value
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Counts
from driftsonde.core.sketch.numeric import NumericBins

RECOMPUTED: Final = frozenset({"ks", "tv", "psi", "nulls", "invalid", "outside"})
"""The checks that `recompute` knows; optional ones, which have a false-alarm account of their own, are not among them."""

_GROUPED: Final = frozenset({"psi", "js", "hellinger", "chi2", "g"})
_95 = 0.05
_Z_95 = 1.959963984540054


class Spent(NamedTuple):
    """What decides when a check alarms, beside its counts.

    Args:
        threshold: T.
        margin: the share of it that a change must surely exceed.
        level: the false-alarm probability that the check may spend.
    """

    threshold: float
    margin: float
    level: float

    @property
    def null(self) -> float:
        """The largest effect that must not alarm."""
        return self.margin * self.threshold


class Recomputed(NamedTuple):
    """What follows from the counts; as the fields of `Check`."""

    score: float
    critical: float
    p_value: float
    n: int
    m: int
    interval: tuple[float, float]
    bracket: Bracket | None = None

    @property
    def certain(self) -> bool:
        """Whether the raw values would have given the same answer."""
        return self.bracket is None or not self.bracket.lower < self.critical <= self.bracket.upper


class Evidence(NamedTuple):
    """The counts that a check is computed from: for a share check `share`, for others the counts of both sides.

    Args:
        single_valued: of ks, the bins that can hold one value only.
    """

    baseline: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    single_valued: tuple[int, ...] = ()
    share: ShareCounts | None = None


def evidence(column: ColumnBaseline, window: ColumnSketch, name: str, psi_bins: int) -> Evidence:
    """Return the counts that the check `name` of a column is computed from."""
    if name in ("nulls", "invalid", "outside"):
        return Evidence(share=share_counts(column, window, name))
    before, after = grouped(column, window.counts, psi_bins) if name in _GROUPED else (column.sketch.counts, window.counts)
    single: Sequence[int] = ()
    if name == "ks" and isinstance(column.bins, NumericBins):
        single = np.flatnonzero(column.bins.single_valued()).tolist()
    return Evidence(tuple(before.tolist()), tuple(after.tolist()), tuple(single))


def recompute(name: str, given: Evidence, spent: Spent) -> Recomputed:
    """Compute a check again.

    Raises:
        ValueError: if the counts cannot be those of this check.
    """
    if given.share is not None:
        return _share(name, given.share, spent)
    baseline, window = (np.array(side, dtype=np.int64) for side in (given.baseline, given.window))
    if baseline.shape != window.shape or baseline.sum() < 1 or window.sum() < 1 or min(baseline.min(), window.min()) < 0:
        raise ValueError("its counts are empty, negative, or not of the same bins")
    if name == "ks":
        return _ks(baseline, window, given.single_valued, spent)
    if name == "tv":
        return _tv(baseline, window, spent)
    if name == "psi":
        return _psi(baseline, window, spent)
    raise ValueError(f"there is no way known to recompute {name!r}")


def _ks(baseline: Counts, window: Counts, single_valued: Sequence[int], spent: Spent) -> Recomputed:
    n, m = int(window.sum()), int(baseline.sum())
    single = np.zeros(len(baseline), dtype=bool)
    if single_valued:
        if max(single_valued) >= len(baseline) or min(single_valued) < 0:
            raise ValueError("it has fewer bins than are said to hold one value only")
        single[list(single_valued)] = True
    lower, upper = (float(end) for end in ks_distance(baseline, window, single))
    spread = float(ks_margin(n, m, _95))
    return Recomputed(
        lower, float(ks_critical(n, m, threshold=spent.threshold, margin=spent.margin, level=spent.level)),
        float(ks_p_value(lower, n, m, null=spent.null)), n, m, (max(0.0, lower - spread), min(1.0, upper + spread)), Bracket(lower, upper),
    )  # fmt: skip


def _tv(baseline: Counts, window: Counts, spent: Spent) -> Recomputed:
    n, m = int(window.sum()), int(baseline.sum())
    score, bias = float(tv_distance(baseline, window)), float(tv_bias(baseline, window))
    spread = bias + float(tv_margin(n, m, _95))
    return Recomputed(
        score, float(tv_critical(baseline, window, threshold=spent.threshold, margin=spent.margin, level=spent.level)),
        float(tv_p_value(score - bias, n, m, null=spent.null)), n, m, (max(0.0, score - spread), min(1.0, score + spread)),
    )  # fmt: skip


def _psi(baseline: Counts, window: Counts, spent: Spent) -> Recomputed:
    value = psi(baseline, window)
    score, error = float(value.corrected), float(value.error)
    return Recomputed(
        score, float(psi_critical(error, threshold=spent.threshold, margin=spent.margin, level=spent.level)),
        float(psi_p_value(np.float64(score), np.float64(error), null=spent.null)), int(window.sum()), int(baseline.sum()),
        (score - _Z_95 * error, score + _Z_95 * error),
    )  # fmt: skip


def _share(name: str, given: ShareCounts, spent: Spent) -> Recomputed:
    x, n, y, m, expected = given
    if not (0 <= x <= n and 0 <= y <= m and n >= 1 and m >= 1):
        raise ValueError("it counts more values than there are")
    beyond_range = name == "outside" and expected == 0.0 and y == min(OUTSIDE_OF_RANGE, m)
    if not beyond_range and not math.isclose(expected, y / m, rel_tol=1e-12):
        raise ValueError(f"it expects a share of {expected:g}, where {y:,} of the baseline's {m:,} values are counted")
    limits, two_sided = share_limits(y, m), name != "outside"
    change = x / n - expected
    bottom, top = (float(end) for end in share_interval(x, n, level=_95))
    interval = (expected - top, expected - bottom) if x / n < expected else (bottom - expected, top - expected)
    critical = share_critical(
        n, limits, expected=expected, threshold=spent.threshold, margin=spent.margin, level=spent.level, two_sided=two_sided
    )
    return Recomputed(
        abs(change) if two_sided else change, float(critical),
        float(share_p_value(x, n, limits, null=spent.null, two_sided=two_sided)), n, m, interval,
    )  # fmt: skip
