"""Checks that are off unless asked for: measures that other tools report, on the same counts.

They see one window at a time, and each has a false-alarm account of its own: what one of them spends is not taken from the checks
that decide by default, nor from another of them. None of the distances has a law for "at most so much", so they alarm when the
effect reaches its threshold *and* the counts surely changed at all.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np

from driftsonde.core.drift import special
from driftsonde.core.sketch.counts import Counts, Floats

OptionalName = Literal["js", "hellinger", "chi2", "g", "wasserstein"]
OPTIONAL: Final[tuple[OptionalName, ...]] = ("js", "hellinger", "chi2", "g", "wasserstein")

THRESHOLDS: Final[dict[OptionalName, float]] = {"js": 0.1, "hellinger": 0.1, "chi2": 0.1, "g": 0.1, "wasserstein": 0.1}
"""Of the distances; of chi2 and g for the effect size w (Cohen 1988: 0.1 is small); of wasserstein in standard deviations."""

METHODS: Final[dict[OptionalName, str]] = {
    "js": "Jensen–Shannon distance, base 2; chi-squared test",
    "hellinger": "Hellinger distance; chi-squared test",
    "chi2": "Pearson's chi-squared test of homogeneity",
    "g": "G-test of homogeneity",
    "wasserstein": "Wasserstein distance over the baseline's standard deviation, from bins; chi-squared test",
}


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
    middles = np.concatenate([[finite[0]], (finite[:-1] + finite[1:]) / 2, [finite[-1]]])
    mean = float(np.average(middles, weights=baseline))
    deviation = float(np.sqrt(np.average((middles - mean) ** 2, weights=baseline)))
    return area / deviation if deviation else (0.0 if area == 0.0 else np.inf)


def _contingency(baseline: Counts, window: Counts) -> tuple[Floats, Floats]:
    there = (baseline > 0) | (window > 0)
    table = np.array([baseline[there], window[there]], dtype=np.float64)
    return table, table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()


def _tested(statistic: float, freedom: int) -> Homogeneity:
    return Homogeneity(statistic, freedom, float(special.chdtrc(freedom, statistic)) if freedom else 1.0)
