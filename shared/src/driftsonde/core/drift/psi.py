"""Population stability index without its small-sample bias, with a delta-method standard error.

Every function takes one column or an array of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.drift import special
from driftsonde.core.drift.ks import Real
from driftsonde.core.sketch.counts import Counts

_RARE_LEVEL = 0.01


class Groups(NamedTuple):
    """Which counts of a column are summed: those at `order`, from each of `starts` to the next."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    def sums(self, counts: Counts) -> Counts:
        """Return the sum of each group."""
        return np.add.reduceat(counts[self.order], self.starts)


class Psi(NamedTuple):
    """`raw` floors nothing; `corrected` = `raw` minus its expectation under no change; `error` is the standard error."""

    raw: Real
    corrected: Real
    error: Real


def numeric_groups(baseline: Counts, groups: int) -> Groups:
    """Put neighbouring bins together into about `groups` equal baseline masses; outer bins go with their neighbours."""
    before = np.concatenate([[0], np.cumsum(baseline)[:-1]]) / baseline.sum()
    index = np.minimum(np.floor(groups * before + 1e-9).astype(np.int64), groups - 1)
    return Groups(np.arange(len(baseline)), np.flatnonzero(np.diff(index, prepend=-1)))


def level_groups(baseline: Counts) -> Groups:
    """Leave levels of 1 % of the baseline or more alone and put the others together; there are some, `unseen` being one."""
    rare = baseline < _RARE_LEVEL * baseline.sum()
    order = np.argsort(rare, kind="stable")
    return Groups(order, np.arange(int((~rare).sum()) + 1))


def psi(baseline: Counts, window: Counts, used: NDArray[np.bool_] | None = None) -> Psi:
    """Return the index over groups, in nats.

    Shares take a pseudo-count of 1/2 for the value and of 1 for the error. The bias (B - 1)(1/n + 1/m) is the mean of
    the index when nothing changed (Yurdakul & Naranjo 2020).

    Args:
        baseline: counts of shape (..., B), sums m >= 1.
        window: counts of shape (..., B), sums n >= 1.
        used: shape (..., B), the groups that there are; default: all.
    """
    there = np.ones(baseline.shape, dtype=bool) if used is None else used
    n, m, size = window.sum(axis=-1), baseline.sum(axis=-1), there.sum(axis=-1)

    def shares(counts: Counts, pseudo: float) -> NDArray[np.float64]:
        padded = np.where(there, counts + pseudo, 1.0)  # what is not there has a log of its own, and is left out of every sum
        total: NDArray[np.float64] = padded / np.expand_dims(counts.sum(axis=-1) + pseudo * size, -1)
        return total

    def over_groups(values: NDArray[np.float64]) -> Real:
        return values.sum(axis=-1, where=there)

    p, q = shares(baseline, 0.5), shares(window, 0.5)
    raw = over_groups((q - p) * np.log(q / p))
    p, q = shares(baseline, 1.0), shares(window, 1.0)
    ratio, log = p / q, np.log(q / p)
    slope_q, slope_p = log + 1 - ratio, 1 - 1 / ratio - log
    variance_q = over_groups(q * slope_q**2) - over_groups(q * slope_q) ** 2
    variance_p = over_groups(p * slope_p**2) - over_groups(p * slope_p) ** 2
    error = np.sqrt(np.maximum(variance_q, 0.0) / n + np.maximum(variance_p, 0.0) / m)
    return Psi(raw, raw - (size - 1) * (1 / n + 1 / m), error)


def psi_terms(baseline: Counts, window: Counts) -> NDArray[np.float64]:
    """Return, shape (B,), what each group adds to the raw index of one column; `psi` of the same counts sums them up."""
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (baseline, window))
    terms: NDArray[np.float64] = (q - p) * np.log(q / p)
    return terms


def psi_critical(error: Real, *, threshold: Real, margin: float, level: float) -> Real:
    """Return the corrected index from which the check alarms: max(T, gT + z(1 - level) × error)."""
    return np.maximum(threshold, margin * threshold - special.ndtri(level) * error)


def psi_p_value(corrected: Real, error: Real, *, null: Real) -> Real:
    """Return the p-value of "the index is at most `null`", by the normal approximation."""
    excess = corrected - null
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0.0, np.where(excess <= 0, 1.0, 0.0), special.ndtr(-excess / error))
