"""All columns at once: each as if it were alone, and as when its checks are computed again one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftsonde.core.drift.checks import Check
from driftsonde.core.drift.policy import Parameters, Thresholds
from driftsonde.core.drift.recompute import Spent, evidence, recompute
from driftsonde.core.drift.verdict import Judge, Verdict
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import Layout, TableSketch

PLAIN = Parameters()
_BELOW = float(np.nextafter(7.0, 0.0))
COLUMNS = (
    ColumnBaseline("wide", "numeric", NumericBins(np.arange(6.0)), ColumnSketch(np.array([0, 100, 400, 300, 150, 50, 0]) * 10, 900, 100)),
    ColumnBaseline("letters", "categorical", Levels(("a", "b")), ColumnSketch(np.array([6_000, 3_500, 500, 0]), 30, 20), singletons=3),
    ColumnBaseline("null", "empty", None, ColumnSketch(np.array([0]), 10_000)),
    ColumnBaseline("one", "numeric", NumericBins(np.array([_BELOW, 7.0])), ColumnSketch(np.array([0, 9_000, 0]), 0, 0)),
    ColumnBaseline(
        "many", "categorical", Levels(("x", "y", "z"), complete=False), ColumnSketch(np.array([50, 40, 30, 9_000, 0])), singletons=80
    ),
    ColumnBaseline("narrow", "numeric", NumericBins(np.arange(3.0)), ColumnSketch(np.array([0, 2_000, 3_000, 0]), 5_000)),
)
LAYOUT = Layout("digest", {column.name: column.size for column in COLUMNS})
WINDOWS = {
    "alike": ([0, 10, 40, 30, 15, 5, 0], [60, 35, 5, 0], [0], [0, 100, 0], [1, 0, 0, 99, 0], [0, 40, 60, 0]),
    "moved": ([3, 40, 70, 30, 15, 5, 9], [20, 90, 15, 7], [5], [0, 100, 40], [30, 0, 0, 99, 0], [0, 90, 10, 1]),
    "few": ([0, 1, 4, 3, 1, 0, 0], [6, 3, 0, 1], [0], [1, 0, 0], [0, 0, 0, 130, 0], [0, 140, 260, 0]),
}
QUALITY = {"clean": (0, 0), "some": (9, 4), "bad": (300, 150)}


def table(name: str, quality: str) -> TableSketch:
    nulls, invalid = QUALITY[quality]
    sketch = TableSketch.empty(LAYOUT)
    for column, inside in zip(COLUMNS, WINDOWS[name], strict=True):
        sketch.add(column.name, ColumnSketch(np.array(inside), nulls, invalid))
    sketch.rows = int(sketch.seen.max())
    return sketch


def alone(sketch: TableSketch, column: ColumnBaseline) -> TableSketch:
    found = TableSketch.empty(Layout("digest", {column.name: column.size}))
    found.add(column.name, sketch.column(column.name))
    found.rows = sketch.rows
    return found


def one_of(columns: int) -> Parameters:
    """The policy by which one column alone is judged at the level of several."""
    return replace(PLAIN, alpha=PLAIN.alpha / columns)


def same(one: Check, other: Check) -> None:
    assert (one.name, one.n, one.m, one.drift, one.lookback) == (other.name, other.n, other.m, other.drift, other.lookback)
    numbers = [(check.score, check.threshold, check.critical, check.p_value, check.p_unchanged, *check.interval) for check in (one, other)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-9, abs=1e-300)
    assert (one.bracket is None) == (other.bracket is None)
    if one.bracket and other.bracket:
        assert tuple(one.bracket) == pytest.approx(tuple(other.bracket))


@pytest.mark.parametrize("quality", QUALITY)
@pytest.mark.parametrize("name", WINDOWS)
def test_columns_together_are_judged_as_each_alone(name: str, quality: str) -> None:
    past = [table("alike", "clean"), table("few", "some"), table("moved", "some")]
    windows = [*past, table(name, quality)]
    together = Judge(COLUMNS, PLAIN).window(windows)
    for column, found in zip(COLUMNS, together.columns, strict=True):
        single = Judge([column], one_of(len(COLUMNS))).window([alone(sketch, column) for sketch in windows]).columns[0]
        assert (found.status, found.decided_by, found.lookback) == (single.status, single.decided_by, single.lookback)
        for one, other in zip(found.checks, single.checks, strict=True):
            same(one, other)


@pytest.mark.parametrize("quality", QUALITY)
@pytest.mark.parametrize("name", WINDOWS)
def test_every_check_of_every_kind_of_column_is_computed_again(name: str, quality: str) -> None:
    sketch = table(name, quality)
    verdict = Judge(COLUMNS, PLAIN).window([sketch])
    for column, found in zip(COLUMNS, verdict.columns, strict=True):
        present = sketch.column(column.name)
        window = ColumnSketch(present.counts, present.nulls + sketch.rows - present.rows, present.invalid)
        for check in found.checks:
            again = recompute(check.name, evidence(column, window, check.name, PLAIN.psi_bins), Spent(check.threshold, 0.5, verdict.level))
            assert (check.n, check.m) == (again.n, again.m), (column.name, check.name)
            assert (check.score, check.critical, *check.interval) == pytest.approx((again.score, again.critical, *again.interval))
            assert check.p_value == pytest.approx(again.p_value, rel=1e-9)
            share = evidence(column, window, check.name, PLAIN.psi_bins).share
            if share is None or share.counted / share.n >= share.expected:  # of a share, critical is the rise that alarms
                assert check.drift == (again.score >= again.critical)
            unchanged = recompute(check.name, evidence(column, window, check.name, PLAIN.psi_bins), Spent(0.0, 0.5, verdict.level))
            assert check.p_unchanged == pytest.approx(unchanged.p_value, rel=1e-9)


def judged(
    inside: list[int], nulls: int = 0, invalid: int = 0, *, before: ColumnSketch | None = None, parameters: Parameters = PLAIN
) -> Verdict:
    column = ColumnBaseline("x", "numeric", NumericBins(np.arange(3.0)), before or ColumnSketch(np.array([0, 50_000, 50_000, 0])))
    sketch = TableSketch.empty(Layout("digest", {"x": 4}))
    sketch.add("x", ColumnSketch(np.array(inside), nulls, invalid))
    sketch.rows = sum(inside) + nulls + invalid
    return Judge([column], parameters).window([sketch])


def test_share_that_surely_rose_by_less_than_its_threshold_does_not_alarm() -> None:
    found = judged([0, 48_000, 48_000, 0], nulls=4_000).columns[0]
    nulls = next(check for check in found.checks if check.name == "nulls")
    assert (nulls.score, nulls.drift, found.status) == (0.04, False, "changed")
    assert nulls.p_value < 1e-9


def test_share_that_rose_by_just_its_threshold_alarms() -> None:
    found = judged([0, 47_500, 47_500, 0], nulls=5_000).columns[0]
    assert (found.status, found.decided_by, found.failing[0].score) == ("drift", "nulls", 0.05)
    assert judged([0, 47_500, 47_501, 0], nulls=4_999).columns[0].status == "changed"


def test_large_but_uncertain_share_does_not_alarm() -> None:
    found = judged([0, 47, 47, 0], nulls=6).columns[0]
    nulls = next(check for check in found.checks if check.name == "nulls")
    assert (nulls.score, nulls.drift, nulls.lookback) == (0.06, False, 1)


def test_fall_of_nulls_alarms_and_fall_of_values_outside_does_not() -> None:
    often = ColumnSketch(np.array([0, 30_000, 20_000, 0]), nulls=50_000)
    found = judged([0, 600, 400, 0], before=often).columns[0]
    assert (found.decided_by, found.failing[0].score) == ("nulls", 0.5)
    assert found.failing[0].interval[0] > 0.49
    assert found.failing[0].interval[1] == 0.5


def test_distance_of_just_its_threshold_alarms_where_it_is_certain() -> None:
    parameters = Parameters(thresholds=Thresholds(distance=0.25, psi=9.0))
    found = judged([0, 75_000, 25_000, 0], parameters=parameters).columns[0]
    assert (found.decided_by, found.failing[0].score, found.failing[0].critical) == ("ks", 0.25, 0.25)
    assert judged([0, 74_999, 25_001, 0], parameters=parameters).columns[0].status == "changed"


def test_baseline_of_no_rows_in_a_column_tests_nothing_of_it() -> None:
    assert judged([0, 500, 500, 0], before=ColumnSketch(np.zeros(4, dtype=np.int64))).columns[0].checks == ()


def test_interval_of_a_distance_stays_within_nought_and_one() -> None:
    apart = {check.name: check for check in judged([0, 0, 0, 200]).columns[0].checks}
    assert apart["ks"].interval[1] == 1.0
    alike = {check.name: check for check in judged([0, 100, 100, 0]).columns[0].checks}
    assert alike["ks"].interval[0] == 0.0


def test_few_invalid_values_of_a_column_of_few_values_are_a_changed_type() -> None:
    assert judged([0, 1, 0, 0], invalid=1).columns[0].status == "type_changed"
    assert judged([0, 2, 0, 0], invalid=1).columns[0].status != "type_changed"
    assert judged([0, 0, 0, 0], nulls=5).columns[0].status != "type_changed"


def test_words_follow_from_statuses() -> None:
    assert judged([0, 10, 10, 0]).word == "insufficient"
    assert judged([0, 500, 500, 0]).word == "ok"
    assert judged([0, 1_000, 0, 0]).word == "drift"
