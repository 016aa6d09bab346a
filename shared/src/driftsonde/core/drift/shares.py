"""Exact tests of a share: nulls, invalid values, values outside the baseline's range or levels.

The p-value is a binomial tail at a confidence limit of the baseline's own share, plus the level of that limit: valid whatever
the true baseline share is (Berger & Boos 1994). Every function takes one column or an array of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from driftsonde.core.drift import special
from driftsonde.core.drift.ks import Real

BETA = 1e-10
"""Level of the confidence limit of the baseline's share."""


class Limits(NamedTuple):
    """Between which a baseline's true share lies, each but for `BETA`."""

    lower: Real
    upper: Real


def share_limits(y: Real, m: Real) -> Limits:
    """Return the Clopper–Pearson limits of a share of `y` in `m` >= 1; 0 and 1 where nothing or everything was counted."""
    y, m = np.asarray(y), np.asarray(m)
    none, every = y == 0, y == m
    lower = np.where(none, 0.0, special.betaincinv(np.where(none, 1, y), m - y + 1, BETA))
    return Limits(lower, np.where(every, 1.0, special.betaincinv(y + 1, np.where(every, 1, m - y), 1 - BETA)))


def share_p_value(x: Real, n: Real, limits: Limits, *, null: Real, two_sided: Real) -> Real:
    """Return the p-value of "the share changed by at most `null`" (one-sided: rose by at most `null`).

    Args:
        x: count in the window, of `n` >= 1.
        limits: of the baseline's share.
        null: change that is allowed, as a share.
        two_sided: whether a fall counts too.
    """
    x, n = np.asarray(x), np.asarray(n)
    upper = np.minimum(1.0, limits.upper + null)
    rise = np.where(x == 0, 1.0, special.betainc(np.maximum(x, 1), n - x + 1, upper))
    lower = limits.lower - null
    falls = (lower > 0) & (x < n)
    if not np.any(falls & two_sided):  # nearly always: a baseline's share of nulls is seldom larger than what may be missing
        return np.minimum(1.0, np.where(two_sided, np.minimum(1.0, 2 * rise), rise) + BETA)
    fall = np.where(falls, special.bdtr(np.where(falls, x, 0).astype(np.float64), n, np.where(falls, lower, 0.0)), 1.0)
    return np.minimum(1.0, np.where(two_sided, 2 * np.minimum(rise, fall), rise) + BETA)


def share_critical(n: Real, limits: Limits, *, expected: Real, threshold: Real, margin: float, level: float, two_sided: Real) -> Any:
    """Return the rise from which the check alarms, above `expected`: at least the threshold, and significant.

    The smallest count whose p-value reaches `level` is found by bisection: the p-value falls as the count rises. 1.0 is
    returned where no count of this `n` would be enough.
    """
    n, expected, threshold = (np.asarray(value) for value in (n, expected, threshold))

    def significant(count: Real) -> Any:
        p_value = share_p_value(np.minimum(count, n), n, limits, null=margin * threshold, two_sided=two_sided)
        return (count > n) | (p_value <= level)

    # Below the threshold nothing alarms, so the search begins there. In all but small windows it ends there too.
    low = np.clip(np.ceil((expected + threshold) * n - 1e-9), 0, n + 1).astype(np.int64)
    high, step = low, 1 + np.sqrt(n).astype(np.int64) // 4
    while not np.all(enough := significant(high)):
        low, high, step = np.where(enough, low, high + 1), np.where(enough, high, np.minimum(high + step, n + 1)), 2 * step
    while np.any(low < high):
        middle = (low + high) // 2
        enough = significant(middle)
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return np.where(low > n, 1.0, np.maximum(threshold, low / n - expected))


def share_interval(x: Real, n: Real, *, level: float = 0.05) -> tuple[Real, Real]:
    """Return the Clopper–Pearson interval of a share."""
    x, n = np.asarray(x), np.asarray(n)
    none, every = x == 0, x == n
    lower = np.where(none, 0.0, special.betaincinv(np.where(none, 1, x), n - x + 1, level / 2))
    return lower, np.where(every, 1.0, special.betaincinv(x + 1, np.where(every, 1, n - x), 1 - level / 2))
