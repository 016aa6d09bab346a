"""Calibration on the baseline's own windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from driftsonde.core.drift.backtest import MIN_WINDOWS, backtest
from driftsonde.core.drift.policy import Parameters, Thresholds
from driftsonde.core.drift.verdict import judge_window
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import Layout, TableSketch

PLAIN = Parameters()
X = ColumnBaseline("x", "numeric", NumericBins(np.arange(3.0)), ColumnSketch(np.array([0, 15_000, 15_000, 0])))


LAYOUT = Layout("digest", {"x": 4})


def window(low: int, high: int, nulls: int = 0) -> TableSketch:
    sketch = TableSketch.empty(LAYOUT)
    sketch.rows = low + high + nulls
    sketch.add("x", ColumnSketch(np.array([0, low, high, 0]), nulls))
    return sketch


def gap() -> TableSketch:
    """A window that has rows and lacks the column."""
    sketch = TableSketch.empty(LAYOUT)
    sketch.rows = 1_000
    return sketch


def calibrated(windows: Sequence[TableSketch], parameters: Parameters = PLAIN, column: ColumnBaseline = X) -> dict[str, float]:
    columns, _ = backtest([column], windows, parameters)
    return columns[0].thresholds


def test_fewer_than_thirty_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30 windows, the baseline gives 29"):
        backtest([X], [window(500, 500)] * (MIN_WINDOWS - 1), PLAIN)


def test_steady_windows_raise_nothing() -> None:
    columns, raised = backtest([X], [window(500, 500), window(510, 490)] * 15, PLAIN)
    assert (columns[0].thresholds, raised) == ({}, ())


def test_threshold_is_slack_times_the_largest_effect() -> None:
    found = calibrated([window(500, 500)] * 29 + [window(700, 300)])
    assert found["distance"] == pytest.approx(1.5 * 0.2)
    assert "nulls" not in found


def test_threshold_is_never_raised_beyond_the_cap() -> None:
    columns, raised = backtest([X], [window(500, 500)] * 29 + [window(1_000, 0)], PLAIN)
    assert columns[0].thresholds["distance"] == 0.4
    assert {(item.check, item.capped) for item in raised} >= {("distance", True)}


def test_threshold_above_the_cap_stays_as_it_is() -> None:
    strict = Parameters(thresholds=Thresholds(distance=0.6))
    assert "distance" not in calibrated([window(500, 500)] * 29 + [window(1_000, 0)], strict)


def test_nulls_are_calibrated_too() -> None:
    assert calibrated([window(500, 500)] * 29 + [window(450, 450, nulls=100)])["nulls"] == pytest.approx(0.15)


def test_earlier_calibration_does_not_show_in_the_new_one() -> None:
    windows = [window(500, 500)] * 29 + [window(700, 300)]
    assert calibrated(windows, column=replace(X, thresholds={"distance": 0.39, "psi": 0.39})) == calibrated(windows)


def test_small_windows_are_calibrated_on_what_they_add_up_to() -> None:
    found = calibrated([window(25, 25)] * 28 + [window(50, 0)] * 2)
    assert found["distance"] == pytest.approx(0.4)


def test_column_absent_from_some_windows_is_calibrated_on_the_rest() -> None:
    assert calibrated([*[gap()] * 15, *[window(500, 500)] * 14, window(700, 300)])["distance"] == pytest.approx(0.3)


def test_seasonal_data_is_quiet_after_calibration() -> None:
    random = np.random.default_rng(3)

    def day(index: int) -> TableSketch:
        low = int(random.binomial(1_000, 0.5 + 0.12 * np.sin(2 * np.pi * index / 7)))
        return window(low, 1_000 - low)

    season = [day(index) for index in range(70)]
    later = [day(index) for index in range(70, 140)]

    def alarms(column: ColumnBaseline) -> int:
        return sum(judge_window([column], later[max(0, end - 32) : end], PLAIN).alarms for end in range(1, len(later) + 1))

    columns, raised = backtest([X], season, PLAIN)
    assert alarms(X) > 0
    assert alarms(columns[0]) == 0
    assert not any(item.capped for item in raised)
