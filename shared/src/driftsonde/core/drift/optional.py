"""Checks that are off unless asked for: measures that other tools report, on the same counts.

They see one window at a time, and each has a false-alarm account of its own: alpha per window over all columns. What one of them
spends is not taken from the checks that decide by default, nor from another of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from driftsonde.core.drift import special
from driftsonde.core.drift.checks import Check, OptionalName, grouped
from driftsonde.core.drift.ks import effective_size, ks_margin, ks_p_value
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Counts, Floats
from driftsonde.core.sketch.numeric import NumericBins


class Homogeneity(NamedTuple):
    """A test of two samples of counts: its statistic, degrees of freedom and p-value."""

    statistic: float
    freedom: int
    p_value: float


def js_distance(baseline: Counts, window: Counts) -> float:
    """Return the Jensen–Shannon distance of counts of shape (B,): the root of the divergence in bits, within [0, 1] (Lin 1991)."""
    p, q = baseline / baseline.sum(), window / window.sum()
    middle = (p + q) / 2

    def bits(part: Floats) -> float:
        some = part > 0
        return float(np.sum(part[some] * np.log2(part[some] / middle[some])))

    return float(np.sqrt(max(0.0, (bits(p) + bits(q)) / 2)))


def hellinger_distance(baseline: Counts, window: Counts) -> float:
    """Return the Hellinger distance of counts of shape (B,), within [0, 1]: ||√p - √q|| / √2."""
    p, q = np.sqrt(baseline / baseline.sum()), np.sqrt(window / window.sum())
    return float(np.sqrt(0.5 * np.sum((p - q) ** 2)))


def chi2_test(baseline: Counts, window: Counts) -> Homogeneity:
    """Return Pearson's test of homogeneity of counts of shape (B,); what is empty on both sides is left out."""
    table, expected = _contingency(baseline, window)
    return _tested(float(np.sum((table - expected) ** 2 / expected)), table.shape[1] - 1)


def g_test(baseline: Counts, window: Counts) -> Homogeneity:
    """Return the likelihood-ratio test of homogeneity of counts of shape (B,)."""
    table, expected = _contingency(baseline, window)
    some = table > 0
    return _tested(float(2 * np.sum(table[some] * np.log(table[some] / expected[some]))), table.shape[1] - 1)


def effect_size(test: Homogeneity, n: int, m: int) -> float:
    """Return Cohen's w: the root of the statistic, less its mean under no change, over n + m; scaled to equal sample sizes.

    The scale 4 n m / (n + m)² makes the size independent of how much larger the baseline is.
    """
    balance = 4 * n * m / (n + m) ** 2
    return float(np.sqrt(max(0.0, test.statistic - test.freedom) / ((n + m) * balance)))


def wasserstein(edges: Floats, baseline: Counts, window: Counts) -> float:
    """Return the Wasserstein-1 distance over the baseline's standard deviation, from counts over bins.

    The area between the two cumulative shares, which are known at the edges and taken as straight lines between them; what lies
    beyond the baseline's range counts as if it lay at its ends.

    Args:
        edges: shape (k,).
        baseline: counts of shape (k + 1,); `window` likewise.
    """
    finite = np.where(np.isfinite(edges), edges, edges[1])
    gap = (np.cumsum(window) / window.sum() - np.cumsum(baseline) / baseline.sum())[:-1]
    left, right, width = gap[:-1], gap[1:], np.diff(finite)
    same = left * right >= 0
    with np.errstate(divide="ignore", invalid="ignore"):  # where the lines cross, two triangles
        crossed = (left**2 + right**2) / (np.abs(left) + np.abs(right)) / 2
    area = float(np.sum(width * np.where(same, (np.abs(left) + np.abs(right)) / 2, crossed)))
    deviation = _deviation(_middles(edges), baseline)
    return area / deviation if deviation else (0.0 if area == 0.0 else math.inf)


def _contingency(baseline: Counts, window: Counts) -> tuple[Floats, Floats]:
    there = (baseline > 0) | (window > 0)
    table = np.array([baseline[there], window[there]], dtype=np.float64)
    return table, table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()


def _tested(statistic: float, freedom: int) -> Homogeneity:
    return Homogeneity(statistic, freedom, float(special.chdtrc(freedom, statistic)) if freedom else 1.0)


class _Measured(NamedTuple):
    """A score, the score from which it is surely no chance, and the p-value of "nothing changed"."""

    score: float
    surely: float
    p_value: float


def optional_checks(
    column: ColumnBaseline, window: ColumnSketch, thresholds: Mapping[OptionalName, float], *, level: float, min_rows: int, psi_bins: int
) -> Iterator[Check]:
    """Run the checks that were asked for, on one column of one window.

    A check alarms when its effect reaches the threshold and could not be chance: for Jensen–Shannon and Hellinger 8 n_e times the
    squared distance (in nats) follows chi-squared when nothing changed, as the statistics of chi2 and g do; the Wasserstein
    distance is at most the Dvoretzky–Kiefer–Wolfowitz–Massart margin times the range.

    Args:
        thresholds: by check; in distances, in Cohen's w for chi2 and g, in standard deviations for wasserstein.
        level: the false-alarm probability that each may spend on this column.
    """
    n, m = window.valid, column.sketch.valid
    if column.bins is None or not m or n < max(min_rows, 1):
        return
    for name, threshold in thresholds.items():
        if name == "wasserstein" and not isinstance(column.bins, NumericBins):
            continue
        found = _measure(name, column, window, level, psi_bins)
        critical = max(threshold, found.surely)
        yield Check(
            name, found.score, threshold, critical, found.p_value, found.p_value, n, m, (found.score, found.score), None,
            found.score >= critical,
        )  # fmt: skip


def _measure(name: OptionalName, column: ColumnBaseline, window: ColumnSketch, level: float, psi_bins: int) -> _Measured:
    n, m = window.valid, column.sketch.valid
    if isinstance(column.bins, NumericBins) and name == "wasserstein":
        score = wasserstein(column.bins.edges, column.sketch.counts, window.counts)
        spread = _spread(column.bins.edges, column.sketch.counts)
        reach = score / spread if spread else 0.0
        return _Measured(score, float(ks_margin(n, m, level)) * spread, float(ks_p_value(reach, n, m)))
    baseline, counts = grouped(column, window.counts, psi_bins)
    freedom = max(len(baseline) - 1, 0)
    quantile = float(special.chdtri(freedom, level)) if freedom else 0.0
    if name in ("chi2", "g"):
        test = (chi2_test if name == "chi2" else g_test)(baseline, counts)
        surely = effect_size(test._replace(statistic=float(special.chdtri(test.freedom, level))), n, m) if test.freedom else 0.0
        return _Measured(effect_size(test, n, m), surely, test.p_value)
    score = js_distance(baseline, counts) if name == "js" else hellinger_distance(baseline, counts)
    scale = 8 * float(effective_size(n, m)) * (math.log(2) if name == "js" else 1.0)
    return _Measured(score, math.sqrt(quantile / scale), _tested(scale * score**2, freedom).p_value)


def _spread(edges: Floats, baseline: Counts) -> float:
    """Return the baseline's range in its standard deviations."""
    middles = _middles(edges)
    deviation = _deviation(middles, baseline)
    return float((middles[-1] - middles[0]) / deviation) if deviation else 0.0


def _middles(edges: Floats) -> Floats:
    finite = np.where(np.isfinite(edges), edges, edges[1])
    return np.concatenate([[finite[0]], (finite[:-1] + finite[1:]) / 2, [finite[-1]]])


def _deviation(middles: Floats, baseline: Counts) -> float:
    mean = float(np.average(middles, weights=baseline))
    return float(np.sqrt(np.average((middles - mean) ** 2, weights=baseline)))
