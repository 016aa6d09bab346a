"""Total variation distance of categories."""

from __future__ import annotations

import math

import numpy as np

from driftsonde.core.drift.ks import effective_size
from driftsonde.core.sketch.numeric import Counts


def tv_distance(baseline: Counts, window: Counts) -> float:
    """Return half the sum of the absolute share differences; counts of shape (levels,), both sums >= 1."""
    return float(0.5 * np.abs(window / window.sum() - baseline / baseline.sum()).sum())


def tv_bias(baseline: Counts, window: Counts) -> float:
    """Bound what sampling alone adds on average: ½ Σ sqrt(s (1 - s) / n_e), with s the pooled share of a level."""
    n, m = int(window.sum()), int(baseline.sum())
    pooled = (baseline + window) / (n + m)
    return float(0.5 * np.sqrt(pooled * (1 - pooled) / effective_size(n, m)).sum())


def tv_critical(baseline: Counts, window: Counts, *, threshold: float, margin: float, level: float) -> float:
    """Return the distance from which the check alarms: max(T, gT + bias + sqrt(ln(1 / level) / (2 n_e)))."""
    size = effective_size(int(window.sum()), int(baseline.sum()))
    return max(threshold, margin * threshold + tv_bias(baseline, window) + math.sqrt(math.log(1 / level) / (2 * size)))


def tv_p_value(distance: float, baseline: Counts, window: Counts, *, null: float = 0.0) -> float:
    """Return the p-value of "the distance is at most `null`": exp(-2 n_e (TV - bias - null)²) (McDiarmid's inequality)."""
    size = effective_size(int(window.sum()), int(baseline.sum()))
    excess = max(distance - tv_bias(baseline, window) - null, 0.0)
    return min(1.0, math.exp(-2 * size * excess * excess))
