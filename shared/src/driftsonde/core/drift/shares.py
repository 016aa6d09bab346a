"""Exact tests of a share: nulls, invalid values, values outside the baseline's range or levels.

The p-value is a binomial tail at a confidence limit of the baseline's own share, plus the level of that limit: valid whatever
the true baseline share is (Berger & Boos 1994).
"""

from __future__ import annotations

from scipy.special import bdtr, betainc, betaincinv

BETA = 1e-10
"""Level of the confidence limit of the baseline's share."""


def share_p_value(x: int, n: int, y: int, m: int, *, null: float, two_sided: bool) -> float:
    """Return the p-value of "the share changed by at most `null`" (one-sided: rose by at most `null`).

    Args:
        x: count in the window, of `n` >= 1.
        y: count in the baseline, of `m` >= 1.
        null: change that is allowed, as a share.
        two_sided: whether a fall counts too.
    """
    upper = 1.0 if y == m else min(1.0, float(betaincinv(y + 1, m - y, 1 - BETA)) + null)
    p_up = 1.0 if x == 0 else float(betainc(x, n - x + 1, upper))
    if not two_sided:
        return min(1.0, p_up + BETA)
    lower = 0.0 if y == 0 else float(betaincinv(y, m - y + 1, BETA)) - null
    p_low = 1.0 if lower <= 0 or x == n else float(bdtr(x, n, lower))
    return min(1.0, 2 * min(p_up, p_low) + BETA)


def share_critical(n: int, y: int, m: int, *, expected: float, threshold: float, margin: float, level: float, two_sided: bool) -> float:
    """Return the rise from which the check alarms, above `expected`: at least the threshold, and significant.

    The smallest count whose p-value reaches `level` is found by bisection: the p-value falls as the count rises. 1.0 is
    returned when no count of this `n` would be enough.
    """
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        if middle / n >= expected and share_p_value(middle, n, y, m, null=margin * threshold, two_sided=two_sided) <= level:
            high = middle
        else:
            low = middle + 1
    return 1.0 if low > n else max(threshold, low / n - expected)


def share_interval(x: int, n: int, *, level: float = 0.05) -> tuple[float, float]:
    """Return the Clopper–Pearson interval of a share."""
    lower = 0.0 if x == 0 else float(betaincinv(x, n - x + 1, level / 2))
    upper = 1.0 if x == n else float(betaincinv(x + 1, n - x, 1 - level / 2))
    return lower, upper
