"""Total variation distance of categories. Every function takes one column or an array of them."""

from __future__ import annotations

import numpy as np

from driftsonde.core.drift.ks import Real, effective_size
from driftsonde.core.sketch.counts import Counts


def tv_distance(baseline: Counts, window: Counts) -> Real:
    """Return half the sum of the absolute share differences; counts of shape (..., levels), both sums >= 1."""
    return 0.5 * np.abs(window / window.sum(axis=-1, keepdims=True) - baseline / baseline.sum(axis=-1, keepdims=True)).sum(axis=-1)


def tv_bias(baseline: Counts, window: Counts) -> Real:
    """Bound what sampling alone adds on average: ½ Σ sqrt(s (1 - s) / n_e), with s the pooled share of a level."""
    n, m = window.sum(axis=-1), baseline.sum(axis=-1)
    pooled = (baseline + window) / np.expand_dims(n + m, -1)
    return 0.5 * np.sqrt(pooled * (1 - pooled)).sum(axis=-1) / np.sqrt(effective_size(n, m))


def tv_margin(n: Real, m: Real, level: float) -> Real:
    """Return c with P(TV - mean TV >= c) <= level: sqrt(ln(1 / level) / (2 n_e)) (McDiarmid's inequality)."""
    return np.sqrt(np.log(1 / level) / (2 * effective_size(n, m)))


def tv_critical(baseline: Counts, window: Counts, *, threshold: Real, margin: float, level: float) -> Real:
    """Return the distance from which the check alarms: max(T, gT + bias + c)."""
    n, m = window.sum(axis=-1), baseline.sum(axis=-1)
    return np.maximum(threshold, margin * threshold + tv_bias(baseline, window) + tv_margin(n, m, level))


def tv_p_value(excess: Real, n: Real, m: Real, *, null: Real = 0.0) -> Real:
    """Return the p-value of "the distance is at most `null`": exp(-2 n_e (excess - null)²).

    Args:
        excess: the distance less its bias.
    """
    beyond = np.maximum(excess - null, 0.0)
    return np.minimum(1.0, np.exp(-2 * effective_size(n, m) * beyond * beyond))
