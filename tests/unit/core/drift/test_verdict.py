"""From counts to verdicts: look-back, statuses, words. Windows are hand-made counts wherever the numbers matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftsonde.core.api import Baseline, judge
from driftsonde.core.drift.checks import largest_moves
from driftsonde.core.drift.policy import Parameters, Thresholds
from driftsonde.core.drift.verdict import ColumnVerdict, Verdict, judge_window
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import Layout, TableSketch

PLAIN = Parameters()


def numeric(*counts: int, nulls: int = 0, invalid: int = 0, name: str = "x") -> ColumnBaseline:
    """A column whose bins lie between 0, 1, 2, ..."""
    bins = NumericBins(np.arange(len(counts) + 1, dtype=np.float64))
    return ColumnBaseline(name, "numeric", bins, ColumnSketch(np.array([0, *counts, 0]), nulls, invalid))


X = numeric(5_000, 5_000)


def counts(*inside: int, nulls: int = 0, invalid: int = 0, below: int = 0, above: int = 0) -> ColumnSketch:
    return ColumnSketch(np.array([below, *inside, above]), nulls, invalid)


def window(*, rows: int | None = None, bad_rows: int = 0, unreadable: int = 0, **columns: ColumnSketch) -> TableSketch:
    most = max((column.rows for column in columns.values()), default=0)
    return over(
        Layout("digest", {name: len(column.counts) for name, column in columns.items()}),
        most if rows is None else rows,
        bad_rows,
        unreadable,
        columns,
    )


def over(layout: Layout, rows: int, bad_rows: int, unreadable: int, columns: Mapping[str, ColumnSketch]) -> TableSketch:
    sketch = TableSketch.empty(layout)
    sketch.rows, sketch.bad_rows, sketch.unreadable = rows, bad_rows, unreadable
    for name, column in columns.items():
        if name in layout.sizes:
            sketch.add(name, column)
    return sketch


def word(*windows: TableSketch, columns: Sequence[ColumnBaseline] = (X,), parameters: Parameters = PLAIN) -> Verdict:
    """Judge windows that were made of some columns over a baseline of others."""
    layout = Layout("digest", {column.name: column.size for column in columns})
    sketches = [over(layout, found.rows, found.bad_rows, found.unreadable, found.columns) for found in windows]
    for sketch, found in zip(sketches, windows, strict=True):
        sketch.new = found.new
    return judge_window(columns, sketches, parameters)


def column_verdict(column: ColumnBaseline, windows: Sequence[TableSketch], parameters: Parameters = PLAIN) -> ColumnVerdict:
    return word(*windows, columns=[column], parameters=parameters).columns[0]


def test_judging_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no window"):
        judge_window([X], [], PLAIN)


def test_scales_are_the_powers_of_two() -> None:
    assert {lookback: Parameters(lookback=lookback).scales() for lookback in (1, 2, 31, 32)} == {
        1: [1], 2: [1, 2], 31: [1, 2, 4, 8, 16], 32: [1, 2, 4, 8, 16, 32],
    }  # fmt: skip


def test_level_pays_for_columns_checks_and_scales() -> None:
    assert Parameters(alpha=0.001).level(50) == pytest.approx(0.001 / (5 * 50 * 6))
    assert Parameters(alpha=0.001, lookback=1).level(0) == pytest.approx(0.001 / 5)


def test_lookback_stops_at_the_first_drift() -> None:
    shifted = window(x=counts(70, 30))
    found = column_verdict(X, [shifted] * 32)
    assert (found.status, found.decided_by, found.lookback) == ("drift", "ks", 4)
    assert {check.lookback for check in found.failing} == {4}


def test_check_below_its_threshold_is_not_merged_further() -> None:
    before, quiet = window(x=counts(95, 5)), window(x=counts(55, 45))
    found = column_verdict(X, [before] * 7 + [quiet])
    assert found.status == "ok"
    assert {check.lookback for check in found.checks} == {1}


def test_check_above_its_threshold_is_judged_at_larger_scales() -> None:
    alternating = [window(x=counts(62, 38)), window(x=counts(38, 62))] * 4
    found = column_verdict(X, alternating)
    assert found.status == "ok"
    assert {check.name: check.lookback for check in found.checks}["ks"] == 2


def test_lookback_of_one_looks_at_one_window() -> None:
    shifted = window(x=counts(70, 30))
    assert column_verdict(X, [shifted] * 32, Parameters(lookback=1)).status == "ok"


def test_too_few_rows_are_insufficient_until_windows_add_up() -> None:
    few = window(x=counts(15, 15))
    assert column_verdict(X, [few]).status == "insufficient_data"
    assert {check.name for check in column_verdict(X, [few]).checks} == {"nulls", "invalid"}
    found = column_verdict(X, [few] * 4)
    assert found.status == "ok"
    assert {check.name: check.lookback for check in found.checks}["ks"] == 4


def test_nulls_alarm_even_with_too_few_values() -> None:
    found = column_verdict(X, [window(x=counts(5, 5, nulls=90))])
    assert (found.status, found.decided_by) == ("drift", "nulls")


def test_missing_column_makes_the_window_untrusted() -> None:
    verdict = word(window(rows=100, other=counts(1, 1)))
    assert verdict.columns[0].status == "missing_column"
    assert (verdict.word, verdict.broken, verdict.alarms, verdict.trainable) == ("untrusted", ("column x is missing",), True, False)


def test_column_absent_from_some_drops_counts_as_nulls() -> None:
    verdict = word(window(rows=1_000, x=counts(250, 250)))
    assert (verdict.columns[0].status, verdict.columns[0].decided_by) == ("drift", "nulls")
    assert verdict.columns[0].failing[0].score == 0.5


def test_column_absent_from_a_past_window_is_skipped_there() -> None:
    few = window(x=counts(30, 30))
    verdict = word(few, window(rows=60), few)
    assert verdict.columns[0].status == "ok"
    assert {check.name: check.n for check in verdict.columns[0].checks}["ks"] == 120


def test_half_invalid_values_mean_that_the_type_changed() -> None:
    verdict = word(window(x=counts(250, 250, invalid=500)))
    assert verdict.columns[0].status == "type_changed"
    assert (verdict.word, verdict.broken) == ("untrusted", ("column x changed its type",))
    assert word(window(x=counts(251, 250, invalid=499))).columns[0].status == "drift"


@pytest.mark.parametrize("empty", [window(), window(x=counts(0, 0))], ids=["no columns", "empty columns"])
def test_empty_window_says_nothing_whatever_came_before(empty: TableSketch) -> None:
    verdict = word(window(x=counts(1_000, 0)), empty)
    assert (verdict.word, verdict.columns[0].status, verdict.alarms) == ("insufficient", "insufficient_data", False)


def test_unreadable_drop_makes_the_window_untrusted() -> None:
    fine = counts(500, 500)
    assert word(window(x=fine, unreadable=1)).broken == ("1 drop could not be read",)
    assert word(window(x=fine, unreadable=2)).broken == ("2 drops could not be read",)


def test_bad_rows_beyond_their_share_make_it_untrusted() -> None:
    fine = counts(495, 495)
    assert word(window(x=fine, bad_rows=10)).word == "ok"
    verdict = word(window(x=fine, bad_rows=11))
    assert (verdict.word, verdict.broken) == ("untrusted", ("11 of 1001 rows could not be parsed",))


def test_broken_data_outranks_drift() -> None:
    verdict = word(window(x=counts(1_000, 0), y=counts(1, 1, invalid=998)), columns=[X, numeric(5_000, 5_000, name="y")])
    assert {column.status for column in verdict.columns} == {"drift", "type_changed"}
    assert (verdict.word, verdict.trainable) == ("untrusted", False)


def test_significant_large_but_uncertain_change_is_a_warning() -> None:
    verdict = word(window(x=counts(640, 360)), parameters=Parameters(margin=1.0))
    assert verdict.columns[0].status == "suspect"
    assert (verdict.word, verdict.alarms) == ("warning", False)


def test_significant_small_change_is_for_information() -> None:
    verdict = word(window(x=counts(11_000, 9_000)))
    assert (verdict.word, verdict.columns[0].status) == ("ok", "changed")


def test_distribution_drift_is_trainable() -> None:
    verdict = word(window(x=counts(1_000, 0)))
    assert (verdict.word, verdict.trainable, verdict.alarms) == ("drift", True, True)


@pytest.mark.parametrize("broken", [counts(400, 400, nulls=200), counts(400, 400, invalid=200)], ids=["nulls", "invalid"])
def test_drift_of_shares_alone_is_not_trainable(broken: ColumnSketch) -> None:
    verdict = word(window(x=broken))
    assert verdict.word == "drift"
    assert {check.name for check in verdict.columns[0].failing} <= {"nulls", "invalid", "outside"}
    assert not verdict.trainable


def test_unseen_level_alarms_by_outside() -> None:
    levels = ColumnBaseline("c", "categorical", Levels(("a", "b")), ColumnSketch(np.array([5_000, 5_000, 0, 0])))
    verdict = word(window(c=ColumnSketch(np.array([480, 470, 0, 50]))), columns=[levels])
    assert {check.name for check in verdict.columns[0].failing} == {"outside"}
    assert not verdict.trainable


def test_identifier_has_no_outside_check() -> None:
    levels = ColumnBaseline("c", "categorical", Levels(("a",), complete=False), ColumnSketch(np.array([500, 9_500, 0])))
    found = column_verdict(levels, [window(c=ColumnSketch(np.array([50, 950, 0])))])
    assert {check.name for check in found.checks} == {"nulls", "invalid", "tv", "psi"}


def test_value_in_an_all_null_column_is_a_fall_of_nulls() -> None:
    empty = ColumnBaseline("z", "empty", None, ColumnSketch(np.array([0]), nulls=10_000))
    assert column_verdict(empty, [window(z=ColumnSketch(np.array([0]), nulls=500))]).status == "insufficient_data"
    found = column_verdict(empty, [window(z=ColumnSketch(np.array([400]), nulls=100))])
    assert (found.status, found.decided_by) == ("drift", "nulls")


def test_new_columns_are_listed_and_not_tested() -> None:
    sketch = window(x=counts(500, 500))
    sketch.new = frozenset({"b", "a"})
    verdict = word(sketch)
    assert (verdict.new, verdict.word) == (("a", "b"), "ok")


def test_thresholds_of_a_column_replace_the_common_ones() -> None:
    shifted = [window(x=counts(650, 350))]
    assert column_verdict(X, shifted).status == "drift"
    patient = Parameters(columns={"x": Thresholds(distance=0.3, psi=1.0)})
    assert column_verdict(X, shifted, patient).status == "changed"


def test_calibrated_threshold_raises_but_never_lowers() -> None:
    assert PLAIN.thresholds_of(replace(X, thresholds={"distance": 0.3})).distance == 0.3
    assert PLAIN.thresholds_of(replace(X, thresholds={"distance": 0.01})).distance == 0.10


def test_alarm_agrees_with_score_and_critical_value() -> None:
    for share in range(500, 1_000, 10):
        for nulls in (0, 60, 100):
            for check in column_verdict(X, [window(x=counts(share, 1_000 - share, nulls=nulls))]).checks:
                assert check.drift == (check.score >= check.critical), check
                assert check.critical >= check.threshold
                assert check.interval[0] - 1e-12 <= check.score <= check.interval[1] + 1e-12


def test_largest_moves_name_bins_and_shares() -> None:
    assert largest_moves(X, counts(900, 100), 1) == [("(0, 1]", 0.5, 0.9)]
    assert largest_moves(X, counts(500, 500)) == []
    assert largest_moves(X, counts(0, 0)) == []


@pytest.fixture(scope="module")
def normal_baseline() -> Baseline:
    random = np.random.default_rng(7)
    return Baseline.build(pa.table({f"f{index}": random.normal(size=20_000) for index in range(10)}))


def draw(random: np.random.Generator, rows: int, shift: float = 0.0) -> Any:
    return pa.table({f"f{index}": random.normal(size=rows) + shift * (index == 3) for index in range(10)})


def test_two_hundred_windows_without_change_never_alarm(normal_baseline: Baseline) -> None:
    random = np.random.default_rng(8)
    history = []
    for _ in range(200):
        history.append(normal_baseline.sketch().update(draw(random, 300)))
        assert not judge(normal_baseline, history[-32:]).alarms


def test_half_a_deviation_is_found_in_the_first_window(normal_baseline: Baseline) -> None:
    random = np.random.default_rng(9)
    history = [normal_baseline.sketch().update(draw(random, 1_000)) for _ in range(31)]
    verdict = judge(normal_baseline, [*history, normal_baseline.sketch().update(draw(random, 1_000, 0.5))])
    assert [column.name for column in verdict.columns if column.alarms] == ["f3"]
    assert (verdict.columns[3].decided_by, verdict.columns[3].lookback) == ("ks", 1)
    assert verdict.trainable
