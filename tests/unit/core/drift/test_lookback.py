"""Which windows are added up at which look-back, column by column, against plain sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from driftsonde.core.drift.backtest import Raised, backtest
from driftsonde.core.drift.lookback import History, merged_column
from driftsonde.core.drift.policy import Parameters, Thresholds
from driftsonde.core.drift.verdict import Judge, Verdict
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import Layout, TableSketch

PLAIN = Parameters()
LAYOUT = Layout("digest", {"x": 4, "y": 5})
X = ColumnBaseline("x", "numeric", NumericBins(np.arange(3.0)), ColumnSketch(np.array([0, 15_000, 15_000, 0])))
Y = ColumnBaseline("y", "numeric", NumericBins(np.arange(4.0)), ColumnSketch(np.array([0, 10_000, 10_000, 10_000, 0])))


def window(x: Sequence[int] | None, y: Sequence[int] | None, *, rows: int = 1_000, nulls: int = 0, invalid: int = 0) -> TableSketch:
    """A window of some rows; `None` is a column that is in none of them."""
    sketch = TableSketch.empty(LAYOUT)
    sketch.rows = rows
    for name, inside in (("x", x), ("y", y)):
        if inside is not None:
            sketch.add(name, ColumnSketch(np.array([0, *inside, 0]), nulls, invalid))
    return sketch


def only_x(low: int, high: int, nulls: int = 0) -> TableSketch:
    """A window of a baseline of one column."""
    sketch = TableSketch.empty(Layout("digest", {"x": 4}))
    sketch.rows = low + high + nulls
    sketch.add("x", ColumnSketch(np.array([0, low, high, 0]), nulls))
    return sketch


def summed(windows: Sequence[TableSketch], name: str, scale: int) -> ColumnSketch:
    """The newest `scale` windows that have the column, added up one by one; rows without the column are nulls."""
    having = [found for found in windows if found.column(name).rows][-scale:]
    total = ColumnSketch(np.zeros(LAYOUT.sizes[name], dtype=np.int64))
    for found in having:
        column = found.column(name)
        total = total + ColumnSketch(column.counts, column.nulls + found.rows - column.rows, column.invalid)
    return total


GAPPED = [
    window((100, 200), (1, 2, 3), nulls=7, invalid=3),
    window(None, (4, 5, 6), nulls=1),
    window((300, 10), (7, 8, 9), invalid=2),
    window((20, 30), None, nulls=5),
    window((40, 50), None),
    window(None, (1, 1, 1)),
    window((60, 70), (2, 2, 2), nulls=11, invalid=13),
]


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", ["x", "y"])
def test_merged_column_is_the_sum_of_the_newest_windows_that_have_it(name: str, scale: int) -> None:
    assert merged_column(GAPPED, name, scale) == summed(GAPPED, name, scale)


def test_extending_step_by_step_adds_each_window_once() -> None:
    history = History(GAPPED)
    merged = history.newest()
    for scale in (2, 4, 8):
        history.extend(merged, scale // 2, scale)
        for place, name in enumerate(LAYOUT.sizes):
            expected = summed(GAPPED, name, scale)
            assert merged.counts[LAYOUT.slots(name)].tolist() == expected.counts.tolist()
            assert (merged.nulls[place], merged.invalid[place]) == (expected.nulls, expected.invalid)


def test_adding_up_leaves_the_windows_as_they_were() -> None:
    before = [(found.counts.copy(), found.nulls.copy(), found.invalid.copy()) for found in GAPPED]
    history = History(GAPPED)
    history.extend(history.newest(), 1, 8)
    for found, (counts, nulls, invalid) in zip(GAPPED, before, strict=True):
        assert np.array_equal(found.counts, counts)
        assert np.array_equal(found.nulls, nulls)
        assert np.array_equal(found.invalid, invalid)


def test_depth_counts_the_windows_that_have_a_column() -> None:
    assert History(GAPPED).depth.tolist() == [5, 5]
    assert History(GAPPED[:3]).depth.tolist() == [2, 3]


def test_column_without_rows_in_the_newest_window_has_no_nulls_there() -> None:
    history = History([window((1, 1), (1, 1, 1)), window((500, 500), None)])
    assert history.has.tolist() == [True, False]
    assert history.newest().nulls.tolist() == [0, 0]


def test_one_column_looks_back_further_than_another() -> None:
    few, steady, shifted = (10, 10), (333, 333, 334), (700, 200, 100)
    rare = replace(X, sketch=ColumnSketch(X.sketch.counts, nulls=49 * 30_000))
    verdict = Judge([rare, Y], Parameters()).window([window(few, steady)] * 15 + [window(few, shifted)])
    x, y = verdict.columns
    assert (y.status, y.decided_by, y.lookback) == ("drift", "ks", 1)
    assert {check.name: check.lookback for check in x.checks}["ks"] == 8
    assert {check.name: check.n for check in x.checks}["ks"] == 160


def test_windows_beyond_the_lookback_are_not_looked_at() -> None:
    few = only_x(10, 10)
    found = Judge([X], Parameters(lookback=4)).window([few] * 16).columns[0]
    assert found.status == "insufficient_data"
    assert Judge([X], Parameters(lookback=8)).window([few] * 16).columns[0].status == "ok"


def test_lookback_needs_as_many_windows_as_it_merges() -> None:
    few = only_x(25, 25)
    judge = Judge([X], Parameters())
    assert judge.window([few]).columns[0].status == "insufficient_data"
    assert judge.window([few] * 2).columns[0].status == "ok"
    # A third window is not merged until there is a fourth.
    found = judge.window([only_x(15, 15)] * 3).columns[0]
    assert found.status == "insufficient_data"


@pytest.mark.parametrize("rows", [99, 100, 101])
def test_min_rows_are_enough_exactly(rows: int) -> None:
    found = Judge([X], Parameters()).window([only_x(50, rows - 50)]).columns[0]
    assert found.status == ("insufficient_data" if rows < 100 else "ok")


def said(verdict: Verdict) -> dict[str, tuple[float, float, float]]:
    return {check.name: (check.score, *check.interval) for check in verdict.columns[0].checks}


def test_window_of_one_row_gives_the_widest_interval() -> None:
    found = said(Judge([X], Parameters()).window([only_x(1, 0)]))
    assert found["nulls"] == pytest.approx((0.0, 0.0, 0.975))
    assert found["invalid"] == pytest.approx((0.0, 0.0, 0.975))


@pytest.mark.parametrize("described", [True, False])
def test_verdict_says_the_same_with_and_without_its_checks(described: bool) -> None:
    windows = [only_x(70, 30)] * 4
    found = Judge([X], Parameters()).window(windows, described=described)
    assert (found.word, found.columns[0].status, bool(found.columns[0].checks)) == ("drift", "drift", described)


# Calibration looks back as verdicts do.


def learnt(windows: Sequence[TableSketch], parameters: Parameters = PLAIN, *, slack: float = 1.0) -> dict[str, float]:
    columns, _ = backtest([X], windows, parameters, slack=slack)
    return columns[0].thresholds


STEADY = only_x(500, 500)


def test_calibration_sees_the_first_window_and_the_last() -> None:
    odd = only_x(700, 300)
    assert learnt([odd] + [STEADY] * 29)["distance"] == pytest.approx(0.2)
    assert learnt([STEADY] * 29 + [odd])["distance"] == pytest.approx(0.2)


def test_calibration_merges_four_windows_of_too_few_rows() -> None:
    # 30 rows each: no scale below 4 has 100. The last four together hold 90 of 120 low.
    windows = [only_x(15, 15)] * 26 + [only_x(30, 0), only_x(30, 0), only_x(15, 15), only_x(15, 15)]
    assert learnt(windows)["distance"] == pytest.approx(0.25)


def test_calibration_skips_larger_scales_where_an_effect_is_small() -> None:
    # Quiet alone; with the one before it it would be 0.2, but it is never merged, and the one before counts as it is.
    windows = [STEADY] * 28 + [only_x(900, 100), STEADY]
    assert learnt(windows) == pytest.approx({"distance": 0.4, "psi": 0.4})


def test_calibration_does_not_come_back_to_a_check_that_was_quiet() -> None:
    # Alone the last window is quiet; the 99 rows before it, too few to be compared alone, must not make it loud.
    assert learnt([STEADY] * 28 + [only_x(99, 0), only_x(58, 42)]) == {}


def test_calibration_follows_an_effect_that_grows_with_the_lookback() -> None:
    # 0.12 alone and below 0.2 in every window; the checks at two and four windows see smaller effects.
    windows = [STEADY] * 26 + [only_x(620, 380)] * 4
    assert learnt(windows)["distance"] == pytest.approx(0.12)
    # The last window has few rows and a small effect of its own; what came before it has many.
    windows = [STEADY] * 28 + [only_x(690, 310), only_x(62, 38)]
    assert learnt(windows)["distance"] == pytest.approx(0.19)


def test_calibration_does_not_merge_windows_that_are_not_there() -> None:
    # In the first window only nothing can be merged: one window of 99 rows has no distance, whatever the scale.
    windows = [only_x(99, 0)] + [only_x(50, 49)] * 29
    found = learnt(windows)
    assert found["distance"] == pytest.approx((99 + 50) / 198 - 0.5)


def test_calibrated_nulls_are_not_merged_below_their_threshold() -> None:
    def nulls(count: int) -> TableSketch:
        return only_x(500 - count, 500, count)

    assert "nulls" not in learnt([nulls(0)] * 29 + [nulls(50)])
    assert learnt([nulls(0)] * 29 + [nulls(51)])["nulls"] == pytest.approx(0.051)


def test_calibration_reports_what_it_raised_and_capped() -> None:
    _, raised = backtest([X], [STEADY] * 29 + [only_x(1_000, 0)], Parameters(), slack=0.7)
    assert raised[0] == Raised("x", "distance", 0.35, capped=False)
    assert (raised[1].check, raised[1].threshold, raised[1].capped) == ("psi", 0.4, True)
    exactly, _ = backtest([X], [STEADY] * 29 + [only_x(700, 300)], Parameters(thresholds=Thresholds(distance=0.2, psi=9.0)), slack=1.0)
    assert exactly[0].thresholds == {}


def test_default_slack_and_cap_are_those_of_the_document() -> None:
    columns, _ = backtest([X], [STEADY] * 29 + [only_x(600, 400)], Parameters())
    assert columns[0].thresholds["distance"] == pytest.approx(0.15)
