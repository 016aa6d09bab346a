"""Calibration on the baseline's own windows: how much does this data move when nothing is wrong? (statistics: 2.6)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftsonde.core.drift.checks import Check
from driftsonde.core.drift.verdict import Parameters, checks_at, column_of, merge_columns
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.table import TableSketch

MIN_WINDOWS = 30
_ANY_LEVEL = 0.5  # only effects are used, so what the checks may spend does not matter
_KEY = {"ks": "distance", "tv": "distance", "psi": "psi", "nulls": "nulls"}


@dataclass(frozen=True, slots=True)
class Raised:
    """A threshold that the baseline's own windows raised. `capped`: too variable to monitor with this baseline."""

    column: str
    check: str
    threshold: float
    capped: bool


def backtest(
    columns: Sequence[ColumnBaseline], windows: Sequence[TableSketch], parameters: Parameters, *, slack: float = 1.5, cap: float = 0.4
) -> tuple[tuple[ColumnBaseline, ...], tuple[Raised, ...]]:
    """Set each column's thresholds to clamp(slack × the largest effect seen over windows and look-backs, T, cap).

    Args:
        columns: the baseline's columns.
        windows: the baseline's own windows in order, at least 30.
        parameters: the policy; its thresholds are the lower limit.
        slack: how far above the largest effect.
        cap: what no threshold is raised beyond.

    Raises:
        ValueError: for fewer than 30 windows.
    """
    if len(windows) < MIN_WINDOWS:
        raise ValueError(f"a back-test needs at least {MIN_WINDOWS} windows, the baseline gives {len(windows)}")
    calibrated, raised = [], []
    for column in columns:
        base = parameters.thresholds_of(replace(column, thresholds={}))
        found: dict[str, float] = {}
        for key, effect in _largest_effects(column, windows, parameters).items():
            floor = getattr(base, key)
            threshold = min(max(slack * effect, floor), max(cap, floor))
            if threshold > floor:
                found[key] = threshold
                raised.append(Raised(column.name, key, threshold, capped=slack * effect > threshold))
        calibrated.append(replace(column, thresholds=found))
    return tuple(calibrated), tuple(raised)


def _largest_effects(column: ColumnBaseline, windows: Sequence[TableSketch], parameters: Parameters) -> dict[str, float]:
    history = [sketch for window in windows if (sketch := column_of(column, window)) is not None]
    plain = replace(column, thresholds={})
    largest: dict[str, float] = {}
    for end in range(1, len(history) + 1):
        going: set[str] | None = None
        for scale in parameters.scales():
            if scale > end or (going is not None and not going):
                break
            checks = list(checks_at(plain, merge_columns(history[end - scale : end]), parameters, _ANY_LEVEL, scale))
            for check in checks:
                if check.name in _KEY and (going is None or check.name in going):
                    key = _KEY[check.name]
                    largest[key] = max(largest.get(key, 0.0), check.score)
            going = _still_going(checks, going)
    return largest


def _still_going(checks: Sequence[Check], going: set[str] | None) -> set[str]:
    """Return the checks that a larger scale is evaluated for: those not yet seen below their threshold."""
    above = {check.name for check in checks if check.score >= check.threshold}
    unseen = {"ks", "tv", "psi"} - {check.name for check in checks}
    return {name for name in above | unseen if going is None or name in going}
