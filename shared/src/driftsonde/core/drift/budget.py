"""From "at most so many false alarms per quarter" to the policy, and what that policy can see (statistics: 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from driftsonde.core.drift.ks import ks_critical
from driftsonde.core.drift.policy import Parameters

QUARTER = timedelta(days=365.25 / 4)
MIN_ALPHA, MAX_ALPHA = 1e-9, 0.2
"""What the configuration takes."""


class Seen(NamedTuple):
    """From which KS distance a window of `n` rows alarms."""

    n: int
    distance: float


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """A budget of false alarms, step by step.

    Args:
        windows: judged in a quarter, over all monitors.
        exact: false alarms divided by windows.
        alpha: what to configure: `exact` rounded down to three digits, within what the configuration takes.
        level: what each check may spend.
        expected: false alarms per quarter with `alpha`, at most.
        note: why `alpha` is not what was asked for; empty if it is.
        seen: what that costs in power.
    """

    windows: float
    exact: float
    alpha: float
    level: float
    expected: float
    note: str
    seen: tuple[Seen, ...]


def alarm_budget(
    false_alarms: float, window: timedelta, parameters: Parameters, *, monitors: int = 1, columns: int = 50, baseline_rows: int = 20_000,
    sizes: Sequence[int] = (100, 300, 1_000, 3_000, 10_000),
) -> AlarmBudget:  # fmt: skip
    """Return the policy that keeps false alarms within a budget, by the same union bound as every verdict.

    Args:
        false_alarms: at most, per quarter, over all monitors.
        window: its length.
        parameters: the rest of the policy.
        monitors: how many there are.
        columns: of each.
        baseline_rows: rows of each baseline.
        sizes: of windows, to tell what can be seen.

    Raises:
        ValueError: if anything is not positive.
    """
    if not (0 < false_alarms < math.inf and window > timedelta(0) and monitors >= 1 and columns >= 1 and baseline_rows >= 1):
        raise ValueError("false alarms, window, monitors, columns and baseline rows must be more than zero")
    windows = QUARTER / window * monitors
    exact = false_alarms / windows
    alpha, note = _rounded(exact), ""
    if alpha > MAX_ALPHA:
        alpha, note = MAX_ALPHA, f"more false alarms than a policy may allow: alpha stays at {MAX_ALPHA}"
    elif alpha < MIN_ALPHA:
        alpha, note = MIN_ALPHA, f"fewer false alarms than a policy can promise: alpha stays at {MIN_ALPHA:g}"
    level = replace(parameters, alpha=alpha).level(columns)
    threshold = parameters.thresholds.distance
    seen = tuple(Seen(n, float(ks_critical(n, baseline_rows, threshold=threshold, margin=parameters.margin, level=level))) for n in sizes)
    return AlarmBudget(windows, exact, alpha, level, alpha * windows, note, seen)


def _rounded(value: float) -> float:
    """Round down to three digits: rounding must not spend more than there is."""
    scale = 10.0 ** (2 - math.floor(math.log10(value)))
    return float(f"{math.floor(value * scale * (1 + 1e-12)) / scale:.3g}")
