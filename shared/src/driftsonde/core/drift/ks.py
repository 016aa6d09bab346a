"""Kolmogorov–Smirnov distance on frozen bins, with the bracket that binning leaves open.

The critical value is a Dvoretzky–Kiefer–Wolfowitz–Massart tail (Massart 1990; two samples: Wei & Dudley 2012) of the interval
null "the distance is at most margin × threshold".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.sketch.numeric import Counts


class Bracket(NamedTuple):
    """The exact distance of the raw values lies in [lower, upper]."""

    lower: float
    upper: float


def effective_size(n: int, m: int) -> float:
    """Return n·m / (n + m), the size that a two-sample distance has."""
    return n * m / (n + m)


def ks_distance(baseline: Counts, window: Counts, single_valued: NDArray[np.bool_]) -> Bracket:
    """Return the distance at the edges and the most that it can be between them.

    Args:
        baseline: counts of shape (bins,), sum m >= 1.
        window: counts of shape (bins,), sum n >= 1.
        single_valued: shape (bins,), bins that hold one value only, inside which nothing is left open.
    """
    cumulated_b = np.cumsum(baseline) / baseline.sum()
    cumulated_w = np.cumsum(window) / window.sum()
    lower = float(np.max(np.abs(cumulated_w - cumulated_b)))
    before_b = np.concatenate([[0.0], cumulated_b[:-1]])
    before_w = np.concatenate([[0.0], cumulated_w[:-1]])
    inside = np.maximum(cumulated_b - before_w, cumulated_w - before_b)[~single_valued]
    return Bracket(lower, max(lower, float(inside.max(initial=0.0))))


def ks_margin(n: int, m: int, level: float) -> float:
    """Return c with P(D - true D >= c) <= level: sqrt(ln(2 / level) / (2 n_e))."""
    return math.sqrt(math.log(2 / level) / (2 * effective_size(n, m)))


def ks_critical(n: int, m: int, *, threshold: float, margin: float, level: float) -> float:
    """Return the distance from which the check alarms: max(T, gT + c)."""
    return max(threshold, margin * threshold + ks_margin(n, m, level))


def ks_p_value(distance: float, n: int, m: int, *, null: float = 0.0) -> float:
    """Return the p-value of the interval null "the distance is at most `null`": 2 exp(-2 n_e (D - null)²)."""
    excess = max(distance - null, 0.0)
    return min(1.0, 2 * math.exp(-2 * effective_size(n, m) * excess * excess))
