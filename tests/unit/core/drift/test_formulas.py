"""The formulas of checks at figures worked out apart from them, and checks computed again at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, norm

from driftsonde.core.drift.checks import ShareCounts
from driftsonde.core.drift.ks import effective_size, ks_critical, ks_distance, ks_margin, ks_p_value
from driftsonde.core.drift.lookback import merged_column
from driftsonde.core.drift.optional import js_distance, optional_checks
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.psi import level_groups, numeric_groups, psi, psi_critical, psi_p_value, psi_terms
from driftsonde.core.drift.recompute import Evidence, Spent, recompute
from driftsonde.core.drift.shares import share_critical, share_interval, share_limits, share_p_value
from driftsonde.core.drift.tv import tv_bias, tv_critical, tv_distance, tv_margin, tv_p_value
from driftsonde.core.drift.verdict import Judge
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import Layout, TableSketch

SPENT = Spent(threshold=0.1, margin=0.5, level=1e-6)
X = ColumnBaseline("x", "numeric", NumericBins(np.arange(3.0)), ColumnSketch(np.array([0, 6_000, 4_000, 0]), nulls=500, invalid=100))


def window(counts: list[int], nulls: int = 0, invalid: int = 0, rows: int | None = None) -> TableSketch:
    sketch = TableSketch.empty(Layout("digest", {"x": 4}))
    sketch.add("x", ColumnSketch(np.array(counts), nulls, invalid))
    sketch.rows = int(sketch.seen[0]) if rows is None else rows
    return sketch


# Kolmogorov–Smirnov.


def test_effective_size_is_half_the_harmonic_mean() -> None:
    assert effective_size(300, 600) == pytest.approx(200)


def test_ks_tail_and_margin_belong_together() -> None:
    margin = float(ks_margin(300, 600, 0.01))
    assert margin == pytest.approx(math.sqrt(math.log(200) / 400))
    assert float(ks_p_value(margin, 300, 600)) == pytest.approx(0.01)
    assert float(ks_p_value(margin + 0.05, 300, 600, null=0.05)) == pytest.approx(0.01)
    assert float(ks_p_value(0.04, 300, 600, null=0.05)) == 1.0


def test_ks_critical_is_the_larger_of_threshold_and_margin() -> None:
    margin = math.sqrt(math.log(200) / 400)
    assert float(ks_critical(300, 600, threshold=0.1, margin=0.5, level=0.01)) == pytest.approx(0.05 + margin)
    assert float(ks_critical(300, 600, threshold=0.4, margin=0.5, level=0.01)) == 0.4


def test_ks_bracket_at_hand_made_counts() -> None:
    before, after = np.array([0, 50, 30, 20, 0]), np.array([10, 30, 40, 10, 10])
    # Cumulated: 0, .5, .8, 1, 1 and .1, .4, .8, .9, 1. Inside the first bin between edges: .5 - .1 and .4 - 0.
    found = ks_distance(before, after, np.zeros(5, dtype=bool))
    assert tuple(found) == pytest.approx((0.1, 0.4))
    assert tuple(ks_distance(before, after, np.ones(5, dtype=bool))) == pytest.approx((0.1, 0.1))
    assert tuple(ks_distance(before, after, np.array([False, True, False, False, False]))) == pytest.approx((0.1, 0.4))
    # Inside the second bin: .8 - .4 = .4 and .8 - .5; inside the third: 1 - .8 and .9 - .8.
    assert tuple(ks_distance(before, after, np.array([False, True, True, False, False]))) == pytest.approx((0.1, 0.2))


# Total variation.


def test_tv_at_hand_made_counts() -> None:
    before, after = np.array([600, 400, 0]), np.array([40, 50, 10])
    assert float(tv_distance(before, after)) == pytest.approx(0.2)
    pooled = np.array([640, 450, 10]) / 1_100
    bias = 0.5 * float(np.sum(np.sqrt(pooled * (1 - pooled)))) / math.sqrt(1_000 / 11)
    assert float(tv_bias(before, after)) == pytest.approx(bias)
    margin = math.sqrt(math.log(100) / (2_000 / 11))
    assert float(tv_margin(100, 1_000, 0.01)) == pytest.approx(margin)
    assert float(tv_critical(before, after, threshold=0.1, margin=0.5, level=0.01)) == pytest.approx(0.05 + bias + margin)
    assert float(tv_critical(before, after, threshold=0.9, margin=0.5, level=0.01)) == 0.9
    assert float(tv_p_value(margin, 100, 1_000)) == pytest.approx(0.01)
    assert float(tv_p_value(margin + 0.05, 100, 1_000, null=0.05)) == pytest.approx(0.01)
    assert float(tv_p_value(-0.1, 100, 1_000)) == 1.0


# Population stability index.


def test_psi_at_hand_made_counts() -> None:
    before, after = np.array([600, 400]), np.array([45, 55])
    p, q = np.array([600.5, 400.5]) / 1_001, np.array([45.5, 55.5]) / 101
    found = psi(before, after)
    raw = float(np.sum((q - p) * np.log(q / p)))
    assert float(found.raw) == pytest.approx(raw)
    assert float(found.corrected) == pytest.approx(raw - (1 / 100 + 1 / 1_000))
    p, q = np.array([601, 401]) / 1_002, np.array([46, 56]) / 102
    slope_q, slope_p = np.log(q / p) + 1 - p / q, 1 - q / p - np.log(q / p)
    error = math.sqrt(
        (float(np.sum(q * slope_q**2)) - float(np.sum(q * slope_q)) ** 2) / 100
        + (float(np.sum(p * slope_p**2)) - float(np.sum(p * slope_p)) ** 2) / 1_000
    )
    assert float(found.error) == pytest.approx(error)


def test_psi_leaves_out_groups_that_are_not_there() -> None:
    before, after = np.array([600, 400, 0]), np.array([45, 55, 0])
    assert tuple(map(float, psi(before, after, np.array([True, True, False])))) == pytest.approx(
        tuple(map(float, psi(before[:2], after[:2])))
    )


def test_psi_tail_and_critical_value_belong_together() -> None:
    critical = float(psi_critical(0.05, threshold=0.2, margin=0.5, level=1e-4))
    assert critical == pytest.approx(0.1 + float(norm.isf(1e-4)) * 0.05)
    assert float(psi_p_value(np.float64(critical), np.float64(0.05), null=0.1)) == pytest.approx(1e-4)
    assert float(psi_critical(0.01, threshold=0.2, margin=0.5, level=1e-4)) == 0.2


def test_psi_without_error_is_beyond_doubt() -> None:
    zero = np.float64(0.0)
    assert [float(psi_p_value(np.float64(value), zero, null=0.1)) for value in (0.0, 0.1, 0.2)] == [1.0, 1.0, 0.0]


def test_bins_are_put_together_to_equal_masses() -> None:
    groups = numeric_groups(np.array([0, 10, 10, 10, 10, 0]), 2)
    assert groups.starts.tolist() == [0, 3]
    assert groups.sums(np.array([1, 2, 3, 4, 5, 6])).tolist() == [6, 15]
    assert numeric_groups(np.array([0, 97, 1, 1, 1, 0]), 4).starts.tolist() == [0, 2]
    assert numeric_groups(np.array([0, 1, 1, 1, 97, 0]), 4).starts.tolist() == [0, 5]
    # Thirds whose sum is not quite what it should be still begin groups of their own.
    assert numeric_groups(np.array([0, *[1] * 10, 0]), 10).starts.tolist() == [0, *range(2, 11)]


def test_levels_of_one_per_cent_stand_alone_and_rarer_ones_go_together() -> None:
    groups = level_groups(np.array([500, 9, 10, 481, 0]))
    assert groups.order.tolist() == [0, 2, 3, 1, 4]
    assert groups.starts.tolist() == [0, 1, 2, 3]
    assert groups.sums(np.array([1, 2, 3, 4, 5])).tolist() == [1, 3, 4, 7]


# Shares.


def test_limits_of_a_share_are_clopper_and_pearsons() -> None:
    found = share_limits(7, 100)
    assert tuple(map(float, found)) == pytest.approx((float(beta.ppf(1e-10, 7, 94)), float(beta.ppf(1 - 1e-10, 8, 93))))
    assert float(share_limits(0, 100).lower) == 0.0
    assert float(share_limits(100, 100).upper) == 1.0
    assert float(share_limits(1, 100).lower) > 0.0
    assert float(share_limits(99, 100).upper) < 1.0


def test_interval_of_a_share_is_clopper_and_pearsons() -> None:
    assert tuple(map(float, share_interval(7, 100))) == pytest.approx((float(beta.ppf(0.025, 7, 94)), float(beta.ppf(0.975, 8, 93))))
    assert tuple(map(float, share_interval(0, 10))) == pytest.approx((0.0, float(beta.ppf(0.975, 1, 10))))
    assert tuple(map(float, share_interval(10, 10))) == pytest.approx((float(beta.ppf(0.025, 10, 1)), 1.0))


def test_fall_of_a_share_counts_on_two_sides_alone() -> None:
    limits = share_limits(5_000, 10_000)
    assert float(share_p_value(300, 1_000, limits, null=0.05, two_sided=True)) < 1e-6
    assert float(share_p_value(300, 1_000, limits, null=0.05, two_sided=False)) == 1.0
    assert float(share_p_value(0, 10, limits, null=0.05, two_sided=True)) == pytest.approx(2 * (1 - float(limits.lower) + 0.05) ** 10)


def test_share_that_cannot_be_critical_has_a_critical_value_of_one() -> None:
    limits = share_limits(5, 1_000)
    critical = {
        n: float(share_critical(n, limits, expected=0.005, threshold=0.02, margin=0.5, level=1e-9, two_sided=False)) for n in (2, 9)
    }
    assert critical[2] == 1.0
    assert critical[9] < 1.0


# Checks computed again.


@pytest.mark.parametrize("name", ["nulls", "outside", "invalid"])
def test_share_of_one_value_is_recomputed(name: str) -> None:
    found = recompute(name, Evidence(share=ShareCounts(1, 1, 1, 1, 1.0)), SPENT)
    assert (found.n, found.m, found.score) == (1, 1, 0.0)
    assert found.interval == pytest.approx((-0.975, 0.0))


def test_interval_of_a_recomputed_share_lies_around_its_change() -> None:
    low, high = (float(end) for end in share_interval(30, 100))
    rise = recompute("nulls", Evidence(share=ShareCounts(30, 100, 100, 1_000, 0.1)), SPENT)
    assert (rise.score, *rise.interval) == pytest.approx((0.2, low - 0.1, high - 0.1))
    fall = recompute("nulls", Evidence(share=ShareCounts(30, 100, 500, 1_000, 0.5)), SPENT)
    assert (fall.score, *fall.interval) == pytest.approx((0.2, 0.5 - high, 0.5 - low))
    less = recompute("outside", Evidence(share=ShareCounts(30, 100, 500, 1_000, 0.5)), SPENT)
    assert less.score == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "share",
    [
        (-1, 10, 1, 10, 0.1),
        (11, 10, 1, 10, 0.1),
        (1, 10, -1, 10, -0.1),
        (1, 10, 11, 10, 1.1),
        (0, 0, 1, 10, 0.1),
        (1, 10, 0, 0, 0.0),
        (1, 10, 1, 10, 0.2),
    ],
)
def test_shares_that_cannot_be_are_refused(share: tuple[int, int, int, int, float]) -> None:
    with pytest.raises(ValueError, match=r"counts more values|expects a share"):
        recompute("nulls", Evidence(share=ShareCounts(*share)), SPENT)


def test_beyond_a_range_nothing_is_expected() -> None:
    assert recompute("outside", Evidence(share=ShareCounts(1, 10, 2, 1_000, 0.0)), SPENT).score == 0.1
    assert recompute("outside", Evidence(share=ShareCounts(1, 10, 1, 1, 0.0)), SPENT).score == 0.1
    for name, known in (("nulls", 2), ("outside", 3)):
        with pytest.raises(ValueError, match="expects a share"):
            recompute(name, Evidence(share=ShareCounts(1, 10, known, 1_000, 0.0)), SPENT)


@pytest.mark.parametrize("name", ["ks", "tv", "psi"])
@pytest.mark.parametrize(
    ("baseline", "window"), [((0, 0), (1, 1)), ((1, 1), (0, 0)), ((1, 1), (1, 1, 1)), ((-1, 3), (1, 1)), ((1, 1), (-1, 3))]
)
def test_counts_that_cannot_be_are_refused(name: str, baseline: tuple[int, ...], window: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="empty, negative, or not of the same bins"):
        recompute(name, Evidence(baseline, window), SPENT)
    assert recompute(name, Evidence((1, 0), (0, 1)), SPENT).n == 1


@pytest.mark.parametrize("single", [(4,), (-1,), (0, 4)])
def test_bins_that_are_not_there_hold_no_single_value(single: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="fewer bins"):
        recompute("ks", Evidence((0, 5, 5, 0), (0, 5, 5, 0), single), SPENT)
    assert recompute("ks", Evidence((0, 5, 5, 0), (0, 5, 5, 0), (0, 3)), SPENT).bracket is not None


# Whole columns.


def test_column_of_nulls_alone_has_no_other_share() -> None:
    found = Judge([X], Parameters()).window([window([0, 0, 0, 0], nulls=300)]).columns[0]
    assert [check.name for check in found.checks] == ["nulls"]
    assert found.checks[0].n == 300


def test_column_of_invalid_values_alone_has_no_share_outside() -> None:
    found = Judge([X], Parameters(min_rows=0)).window([window([0, 0, 0, 0], invalid=300)]).columns[0]
    assert [(check.name, check.n) for check in found.checks] == [("nulls", 300), ("invalid", 300)]
    assert found.status == "type_changed"


def test_shares_of_a_verdict_are_of_what_they_are_counted_among() -> None:
    found = Judge([X], Parameters()).window([window([5, 100, 80, 10], nulls=20, invalid=7, rows=230)]).columns[0]
    checks = {check.name: check for check in found.checks}
    assert [(name, checks[name].n, checks[name].m) for name in ("nulls", "invalid", "outside", "ks", "psi")] == [
        ("nulls", 230, 10_600), ("invalid", 202, 10_100), ("outside", 195, 10_000), ("ks", 195, 10_000), ("psi", 195, 10_000),
    ]  # fmt: skip
    assert checks["nulls"].score == pytest.approx(28 / 230 - 500 / 10_600)
    assert checks["invalid"].score == pytest.approx(7 / 202 - 100 / 10_100)
    assert checks["outside"].score == pytest.approx(15 / 195)


def test_one_row_makes_a_column_present_in_a_past_window() -> None:
    past = [window([0, 1, 0, 0]), window([0, 0, 1, 0])]
    assert merged_column(past, "x", 2).counts.tolist() == [0, 1, 1, 0]
    assert merged_column([*past, window([0, 50, 0, 0])], "x", 2).counts.tolist() == [0, 50, 1, 0]


def test_optional_measure_of_numbers_is_taken_over_groups() -> None:
    after = ColumnSketch(np.array([0, 90, 110, 0]))
    (found,) = optional_checks(X, after, {"js": 0.1}, level=1e-6, min_rows=100, psi_bins=10)
    assert found.score == pytest.approx(js_distance(X.sketch.counts, after.counts))


def test_terms_of_psi_sum_up_to_the_raw_index() -> None:
    before, now = np.array([10, 20, 0, 70]), np.array([30, 0, 5, 20])
    assert psi_terms(before, now).sum() == pytest.approx(float(psi(before, now).raw))
