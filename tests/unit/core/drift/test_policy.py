"""The policy's defaults, and what is accounted for at its edges."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from driftsonde.core.drift.budget import QUARTER, alarm_budget
from driftsonde.core.drift.checks import Check, grouped, largest_moves, share_counts
from driftsonde.core.drift.ks import Bracket
from driftsonde.core.drift.policy import Parameters, Thresholds
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins

DAY = timedelta(days=1)
LEVELS = ColumnBaseline("c", "categorical", Levels(("a", "b")), ColumnSketch(np.array([600, 395, 5, 0])), singletons=5)
BINS = ColumnBaseline("x", "numeric", NumericBins(np.arange(3.0)), ColumnSketch(np.array([0, 600, 400, 0]), nulls=10, invalid=20))


def test_defaults_are_those_of_the_document() -> None:
    assert Thresholds() == Thresholds(distance=0.10, psi=0.20, nulls=0.05, outside=0.02, invalid=0.02)
    assert Parameters() == Parameters(
        alpha=0.001, margin=0.5, thresholds=Thresholds(), columns={}, psi_bins=10, min_rows=100, lookback=32, bad_rows=0.01, optional={}
    )


def test_optional_checks_share_alpha_among_columns() -> None:
    assert [Parameters(alpha=0.01).optional_level(columns) for columns in (0, 1, 4)] == pytest.approx([0.01, 0.01, 0.0025])


def test_budget_takes_the_least_that_there_can_be() -> None:
    found = alarm_budget(1, DAY, Parameters(), monitors=1, columns=1, baseline_rows=1)
    assert found.level == pytest.approx(found.alpha / (5 * 1 * 6))
    with pytest.raises(ValueError, match="more than zero"):
        alarm_budget(1, DAY, Parameters(), baseline_rows=0)


def test_budget_assumes_fifty_columns_and_twenty_thousand_rows() -> None:
    assert alarm_budget(1, DAY, Parameters()) == alarm_budget(
        1, DAY, Parameters(), monitors=1, columns=50, baseline_rows=20_000, sizes=(100, 300, 1_000, 3_000, 10_000)
    )
    assert timedelta(days=91.3125) == QUARTER


@pytest.mark.parametrize("alpha", [1e-9, 0.2])
def test_budget_at_the_limits_of_alpha_is_given_without_a_note(alpha: float) -> None:
    found = alarm_budget(alpha * 4, QUARTER / 4, Parameters())
    assert (found.alpha, found.note) == (alpha, "")
    assert found.expected == pytest.approx(alpha * 4)


@pytest.mark.parametrize(
    ("critical", "certain"),
    [(0.19, True), (0.2, True), (0.21, False), (0.3, False), (0.31, True)],
    ids=["below", "low", "in", "high", "above"],
)
def test_only_a_critical_value_within_the_bracket_is_uncertain(critical: float, certain: bool) -> None:
    check = Check("ks", 0.2, 0.1, critical, 1, 1, 100, 100, (0.0, 1.0), Bracket(0.2, 0.3), drift=False)
    assert check.certain is certain
    assert check._replace(bracket=None).certain
    assert check.lookback == 1


@pytest.mark.parametrize("name", ["nulls", "outside", "invalid", "ks", "psi"])
def test_share_checks_are_those_of_quality(name: str) -> None:
    check = Check(name, 0.2, 0.1, 0.3, 1, 1, 100, 100, (0.0, 1.0), None, drift=False)  # type: ignore[arg-type]  # any of them
    assert check.is_share is (name in ("nulls", "outside", "invalid"))


def test_shares_are_counted_among_what_they_are_a_share_of() -> None:
    window = ColumnSketch(np.array([3, 50, 40, 7]), nulls=11, invalid=13)
    assert tuple(share_counts(BINS, window, "nulls")) == (11, 124, 10, 1_030, 10 / 1_030)
    assert tuple(share_counts(BINS, window, "invalid")) == (13, 113, 20, 1_020, 20 / 1_020)
    assert tuple(share_counts(BINS, window, "outside")) == (10, 100, 2, 1_000, 0.0)
    unseen = ColumnSketch(np.array([50, 40, 3, 7]))
    assert tuple(share_counts(LEVELS, unseen, "outside")) == (7, 100, 5, 1_000, 0.005)


def test_levels_seen_on_either_side_alone_keep_their_group() -> None:
    before, after = grouped(LEVELS, np.array([0, 90, 9, 1]), 10)
    assert (before.tolist(), after.tolist()) == ([600, 395, 5], [0, 90, 10])
    rare = ColumnBaseline("c", "categorical", Levels(("a", "b")), ColumnSketch(np.array([600, 400, 0, 0])))
    assert [side.tolist() for side in grouped(rare, np.array([60, 40, 0, 0]), 10)] == [[600, 400], [60, 40]]
    assert [side.tolist() for side in grouped(rare, np.array([60, 40, 0, 1]), 10)] == [[600, 400, 0], [60, 40, 1]]
    once = ColumnBaseline("c", "categorical", Levels(("a", "b")), ColumnSketch(np.array([600, 400, 1, 0])))
    assert [side.tolist() for side in grouped(once, np.array([60, 40, 0, 0]), 10)] == [[600, 400, 1], [60, 40, 0]]


def test_largest_moves_come_largest_first_and_five_at_most() -> None:
    bins = NumericBins(np.arange(8.0))
    column = ColumnBaseline("x", "numeric", bins, ColumnSketch(np.array([0, 100, 100, 100, 100, 100, 100, 100, 0])))
    moved = largest_moves(column, ColumnSketch(np.array([0, 170, 100, 90, 80, 85, 95, 80, 0])))
    assert [label for label, _, _ in moved] == ["(0, 1]", "(3, 4]", "(6, 7]", "(4, 5]", "(2, 3]"]
    assert moved[0][1:] == pytest.approx((1 / 7, 170 / 700))
    assert largest_moves(ColumnBaseline("z", "empty", None, ColumnSketch(np.array([0]))), ColumnSketch(np.array([5]))) == []
    nothing = ColumnBaseline("x", "numeric", bins, ColumnSketch(np.zeros(9, dtype=np.int64)))
    assert largest_moves(nothing, ColumnSketch(np.ones(9, dtype=np.int64))) == []
