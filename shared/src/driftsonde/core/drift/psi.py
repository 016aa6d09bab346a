"""Population stability index without its small-sample bias, with a delta-method standard error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from driftsonde.core.sketch.numeric import Counts

_RARE_LEVEL = 0.01


class Psi(NamedTuple):
    """`corrected` = `raw` minus its expectation under no change; `error` is the standard error."""

    raw: float
    corrected: float
    error: float


def group_numeric(baseline: Counts, window: Counts, groups: int) -> tuple[Counts, Counts]:
    """Sum neighbouring bins into about `groups` equal baseline masses; outer bins go with their neighbours."""
    before = np.concatenate([[0], np.cumsum(baseline)[:-1]]) / baseline.sum()
    index = np.minimum(np.floor(groups * before + 1e-9).astype(np.int64), groups - 1)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    return np.add.reduceat(baseline, starts), np.add.reduceat(window, starts)


def group_levels(baseline: Counts, window: Counts) -> tuple[Counts, Counts]:
    """Pool levels below 1 % of the baseline into one; drop what is empty on both sides."""
    rare = baseline < _RARE_LEVEL * baseline.sum()
    pooled_b = np.append(baseline[~rare], baseline[rare].sum())
    pooled_w = np.append(window[~rare], window[rare].sum())
    present = (pooled_b > 0) | (pooled_w > 0)
    return pooled_b[present], pooled_w[present]


def psi(baseline: Counts, window: Counts) -> Psi:
    """Return the index over groups of shape (B,), in nats.

    Shares take a pseudo-count of 1/2 for the value and of 1 for the error. The bias (B - 1)(1/n + 1/m) is the mean of
    the index when nothing changed (Yurdakul & Naranjo 2020).
    """
    n, m, groups = int(window.sum()), int(baseline.sum()), len(baseline)
    p, q = (baseline + 0.5) / (m + 0.5 * groups), (window + 0.5) / (n + 0.5 * groups)
    raw = float(np.sum((q - p) * np.log(q / p)))
    p, q = (baseline + 1.0) / (m + groups), (window + 1.0) / (n + groups)
    slope_q, slope_p = np.log(q / p) + 1 - p / q, 1 - q / p - np.log(q / p)
    variance_q = np.sum(q * slope_q**2) - np.sum(q * slope_q) ** 2
    variance_p = np.sum(p * slope_p**2) - np.sum(p * slope_p) ** 2
    error = float(np.sqrt(max(variance_q, 0.0) / n + max(variance_p, 0.0) / m))
    return Psi(raw, raw - (groups - 1) * (1 / n + 1 / m), error)


def psi_critical(error: float, *, threshold: float, margin: float, level: float) -> float:
    """Return the corrected index from which the check alarms: max(T, gT + z(1 - level) × error)."""
    return max(threshold, margin * threshold + float(-ndtri(level)) * error)


def psi_p_value(value: Psi, *, null: float) -> float:
    """Return the p-value of "the index is at most `null`", by the normal approximation."""
    if value.error == 0.0:
        return 1.0 if value.corrected <= null else 0.0
    return float(ndtr(-(value.corrected - null) / value.error))
