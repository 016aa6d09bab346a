"""Kolmogorov–Smirnov distance on frozen bins, with the bracket that binning leaves open.

The critical value is a Dvoretzky–Kiefer–Wolfowitz–Massart tail (Massart 1990; two samples: Wei & Dudley 2012) of the interval
null "the distance is at most margin × threshold". Every function takes one column or an array of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.sketch.counts import Counts

Real = Any
"""A number, or an array of one for each column."""


class Bracket(NamedTuple):
    """The exact distance of the raw values lies in [lower, upper]."""

    lower: Real
    upper: Real


def effective_size(n: Real, m: Real) -> Real:
    """Return n·m / (n + m), the size that a two-sample distance has."""
    return n * m / (n + m)


def ks_distance(baseline: Counts, window: Counts, single_valued: NDArray[np.bool_]) -> Bracket:
    """Return the distance at the edges and the most that it can be between them.

    Args:
        baseline: counts of shape (..., bins), sums m >= 1; bins may be added at the end that are empty on both sides.
        window: counts of shape (..., bins), sums n >= 1.
        single_valued: shape (..., bins), bins that hold one value only, inside which nothing is left open.
    """
    cumulated_b = np.cumsum(baseline, axis=-1) / baseline.sum(axis=-1, keepdims=True)
    cumulated_w = np.cumsum(window, axis=-1) / window.sum(axis=-1, keepdims=True)
    lower = np.abs(cumulated_w - cumulated_b).max(axis=-1)
    inside = cumulated_b.copy()
    inside[..., 1:] -= cumulated_w[..., :-1]
    other = cumulated_w.copy()
    other[..., 1:] -= cumulated_b[..., :-1]
    inside = np.where(single_valued, 0.0, np.maximum(inside, other))
    return Bracket(lower, np.maximum(lower, inside.max(axis=-1)))


def ks_margin(n: Real, m: Real, level: float) -> Real:
    """Return c with P(D - true D >= c) <= level: sqrt(ln(2 / level) / (2 n_e))."""
    return np.sqrt(np.log(2 / level) / (2 * effective_size(n, m)))


def ks_critical(n: Real, m: Real, *, threshold: Real, margin: float, level: float) -> Real:
    """Return the distance from which the check alarms: max(T, gT + c)."""
    return np.maximum(threshold, margin * threshold + ks_margin(n, m, level))


def ks_p_value(distance: Real, n: Real, m: Real, *, null: Real = 0.0) -> Real:
    """Return the p-value of the interval null "the distance is at most `null`": 2 exp(-2 n_e (D - null)²)."""
    excess = np.maximum(distance - null, 0.0)
    return np.minimum(1.0, 2 * np.exp(-2 * effective_size(n, m) * excess * excess))
