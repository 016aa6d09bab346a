"""Calibration on the baseline's own windows: how much does this data move when nothing is wrong? (statistics: 2.6)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftsonde.core.drift.lookback import History
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.reference import DISTANCE, NULLS, PSI, ROWS, Reference, thresholds_table
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import Floats
from driftsonde.core.sketch.table import TableSketch

MIN_WINDOWS = 30
_ANY_LEVEL = 0.5  # only effects are used, so what the checks may spend does not matter
_LEARNT = (DISTANCE, PSI, NULLS)
_NEEDS_ROWS = np.array([[row in (DISTANCE, PSI)] for row in range(len(ROWS))])


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
    plain = [replace(column, thresholds={}) for column in columns]
    floors = thresholds_table(plain, parameters)
    largest = _largest_effects(Reference(plain, parameters.psi_bins), windows, floors, parameters)
    calibrated, raised = [], []
    for place, column in enumerate(plain):
        found: dict[str, float] = {}
        for row in _LEARNT:
            effect, floor = float(largest[row, place]), float(floors[row, place])
            threshold = min(max(slack * effect, floor), max(cap, floor))
            if threshold > floor:
                found[ROWS[row]] = threshold
                raised.append(Raised(column.name, ROWS[row], threshold, capped=slack * effect > threshold))
        calibrated.append(replace(column, thresholds=found))
    return tuple(calibrated), tuple(raised)


def _largest_effects(reference: Reference, windows: Sequence[TableSketch], floors: Floats, parameters: Parameters) -> Floats:
    """Return, shape (5, columns), the largest effect of each check over windows and look-backs."""
    largest = np.full(floors.shape, -np.inf)
    for end in range(1, len(windows) + 1):
        history = History(windows[max(0, end - parameters.lookback) : end])
        merged, going = history.newest(), np.broadcast_to(history.has, floors.shape)
        for scale in parameters.scales():
            if scale > 1:
                going = going & (history.depth >= scale)
                history.extend(merged, scale // 2, scale)
            now = reference.measure(merged, floors, margin=parameters.margin, level=_ANY_LEVEL, min_rows=parameters.min_rows)
            np.maximum(largest, now.score, out=largest, where=now.there & going)
            # A check below its threshold at one scale is not evaluated at a larger one; one without the rows for it is.
            going = going & np.where(now.there, now.score >= floors, _NEEDS_ROWS)
            if not going.any():
                break
    return largest
