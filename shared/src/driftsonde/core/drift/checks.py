"""Every check of one column at one scale: counts in, results out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from driftsonde.core.drift.ks import Bracket, ks_critical, ks_distance, ks_margin, ks_p_value
from driftsonde.core.drift.psi import group_levels, group_numeric, psi, psi_critical, psi_p_value
from driftsonde.core.drift.shares import share_critical, share_interval, share_p_value
from driftsonde.core.drift.tv import tv_critical, tv_distance, tv_p_value
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import ColumnSketch

CheckName = Literal["ks", "tv", "psi", "nulls", "outside", "invalid"]
HYPOTHESES = 5
"""Checks per column that the false-alarm account pays for, evaluated or not (statistics: 2.2)."""

_OUTSIDE_OF_RANGE = 2  # of m rows: what lies beyond the minimum and the maximum of m values is 2 / (m + 1) on average
_95 = 0.05
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which effect a check may alarm. `distance` serves ks and tv."""

    distance: float = 0.10
    psi: float = 0.20
    nulls: float = 0.05
    outside: float = 0.02
    invalid: float = 0.02


@dataclass(frozen=True, slots=True)
class Check:
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


def run_checks(
    column: ColumnBaseline, window: ColumnSketch, *, thresholds: Thresholds, margin: float, level: float,
    min_rows: int, psi_bins: int, lookback: int = 1,
) -> Iterator[Check]:  # fmt: skip
    """Compare a window with the baseline.

    Args:
        column: the baseline's column.
        window: its counts in the window (or merged windows).
        level: the false-alarm probability that each check may spend.
        min_rows: valid values that distribution checks need.

    Yields:
        Share checks always (of a window with rows); distribution checks when there are enough values on both sides.
    """
    measure = _Shares(column, window, margin, level, lookback)
    if window.rows and column.sketch.rows:
        yield measure.check("nulls", window.nulls, window.rows, column.sketch.nulls, column.sketch.rows, thresholds.nulls)
    given, given_baseline = window.rows - window.nulls, column.sketch.rows - column.sketch.nulls
    if given and given_baseline:
        yield measure.check("invalid", window.invalid, given, column.sketch.invalid, given_baseline, thresholds.invalid)
    n, m = window.valid, column.sketch.valid
    if column.kind == "empty" or m == 0 or n < max(min_rows, 1):
        return
    if column.tests_outside:
        expected = min(m, _OUTSIDE_OF_RANGE if column.kind == "numeric" else column.singletons)
        yield measure.check("outside", column.outside(window), n, expected, m, thresholds.outside)
    if isinstance(column.bins, NumericBins):
        yield _ks(column, column.bins, window, thresholds.distance, margin, level, lookback)
        groups = group_numeric(column.sketch.counts, window.counts, psi_bins)
    else:
        yield _tv(column, window, thresholds.distance, margin, level, lookback)
        groups = group_levels(column.sketch.counts, window.counts)
    value = psi(*groups)
    critical = psi_critical(value.error, threshold=thresholds.psi, margin=margin, level=level)
    spread = _Z_95 * value.error
    yield Check(
        "psi", value.corrected, thresholds.psi, critical, psi_p_value(value, null=margin * thresholds.psi), psi_p_value(value, null=0.0),
        n, m, (value.corrected - spread, value.corrected + spread), None, value.corrected >= critical, lookback,
    )  # fmt: skip


def _ks(
    column: ColumnBaseline, bins: NumericBins, window: ColumnSketch, threshold: float, margin: float, level: float, lookback: int
) -> Check:
    n, m = window.valid, column.sketch.valid
    bracket = ks_distance(column.sketch.counts, window.counts, bins.single_valued())
    critical = ks_critical(n, m, threshold=threshold, margin=margin, level=level)
    spread = ks_margin(n, m, _95)
    return Check(
        "ks", bracket.lower, threshold, critical, ks_p_value(bracket.lower, n, m, null=margin * threshold),
        ks_p_value(bracket.lower, n, m), n, m, (max(0.0, bracket.lower - spread), min(1.0, bracket.upper + spread)), bracket,
        bracket.lower >= critical, lookback,
    )  # fmt: skip


def _tv(column: ColumnBaseline, window: ColumnSketch, threshold: float, margin: float, level: float, lookback: int) -> Check:
    present = (column.sketch.counts > 0) | (window.counts > 0)
    baseline, counts = column.sketch.counts[present], window.counts[present]
    n, m = window.valid, column.sketch.valid
    score = tv_distance(baseline, counts)
    critical = tv_critical(baseline, counts, threshold=threshold, margin=margin, level=level)
    spread = tv_critical(baseline, counts, threshold=0.0, margin=0.0, level=_95)
    return Check(
        "tv", score, threshold, critical, tv_p_value(score, baseline, counts, null=margin * threshold), tv_p_value(score, baseline, counts),
        n, m, (max(0.0, score - spread), min(1.0, score + spread)), None, score >= critical, lookback,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shares:
    column: ColumnBaseline
    window: ColumnSketch
    margin: float
    level: float
    lookback: int

    def check(self, name: CheckName, x: int, n: int, y: int, m: int, threshold: float) -> Check:
        two_sided = name != "outside"
        # Nothing lies outside a numeric baseline's own range; what 2 of m allow for goes into the p-value alone.
        expected = 0.0 if name == "outside" and self.column.kind == "numeric" else y / m
        change = x / n - expected
        score = abs(change) if two_sided else change
        null = self.margin * threshold
        p_value = share_p_value(x, n, y, m, null=null, two_sided=two_sided)
        low, high = share_interval(x, n)
        interval = (low - expected, high - expected) if change >= 0 else (expected - high, expected - low)
        critical = share_critical(
            n, y, m, expected=expected, threshold=threshold, margin=self.margin, level=self.level, two_sided=two_sided
        )
        return Check(
            name, score, threshold, critical, p_value, share_p_value(x, n, y, m, null=0.0, two_sided=two_sided), n, m, interval, None,
            score >= threshold and p_value <= self.level, self.lookback,
        )  # fmt: skip


def largest_moves(column: ColumnBaseline, window: ColumnSketch, count: int = 5) -> list[tuple[str, float, float]]:
    """Return the bins or levels whose share changed most, as (label, baseline share, window share)."""
    if column.bins is None or not window.valid or not column.sketch.valid:
        return []
    before, after = column.sketch.counts / column.sketch.valid, window.counts / window.valid
    order = np.argsort(-np.abs(after - before), kind="stable")[:count]
    return [(column.bins.label(int(i)), float(before[i]), float(after[i])) for i in order if before[i] != after[i]]
