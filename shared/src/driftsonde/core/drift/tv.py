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


def tv_margin(baseline: Counts, window: Counts, level: float) -> Real:
    """Return c with P(TV - true TV >= c) <= level: bias + sqrt(ln(1 / level) / (2 n_e))."""
    size = effective_size(window.sum(axis=-1), baseline.sum(axis=-1))
    return tv_bias(baseline, window) + np.sqrt(np.log(1 / level) / (2 * size))


def tv_critical(baseline: Counts, window: Counts, *, threshold: Real, margin: float, level: float) -> Real:
    """Return the distance from which the check alarms: max(T, gT + c)."""
    return np.maximum(threshold, margin * threshold + tv_margin(baseline, window, level))


def tv_p_value(distance: Real, baseline: Counts, window: Counts, *, null: Real = 0.0) -> Real:
    """Return the p-value of "the distance is at most `null`": exp(-2 n_e (TV - bias - null)²) (McDiarmid's inequality)."""
    size = effective_size(window.sum(axis=-1), baseline.sum(axis=-1))
    excess = np.maximum(distance - tv_bias(baseline, window) - null, 0.0)
    return np.minimum(1.0, np.exp(-2 * size * excess * excess))
