"""Optional measures against scipy, and against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, chi2_contingency

from driftsonde.core.drift.checks import OptionalName
from driftsonde.core.drift.ks import effective_size, ks_margin, ks_p_value
from driftsonde.core.drift.optional import (
    chi2_test,
    effect_size,
    g_test,
    hellinger_distance,
    js_distance,
    optional_checks,
    wasserstein,
)
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Counts
from driftsonde.core.sketch.numeric import NumericBins

BEFORE, AFTER = np.array([500, 300, 200, 0, 0]), np.array([40, 40, 10, 0, 10])
LEVELS = ColumnBaseline("c", "categorical", Levels(("a", "b", "c")), ColumnSketch(BEFORE))
LEVEL = 1e-4


def measured(name: OptionalName, threshold: float = 0.01, column: ColumnBaseline = LEVELS, after: Counts = AFTER) -> tuple[float, ...]:
    (found,) = optional_checks(column, ColumnSketch(after), {name: threshold}, level=LEVEL, min_rows=100, psi_bins=10)
    assert (found.n, found.m, found.threshold) == (int(after.sum()), column.sketch.valid, threshold)
    assert found.drift == (found.score >= found.critical)
    assert found.interval == (found.score, found.score)
    assert found.p_value == found.p_unchanged
    return found.score, found.critical, found.p_value


def test_tests_of_homogeneity_are_those_of_scipy() -> None:
    there = (BEFORE > 0) | (AFTER > 0)
    table = np.array([BEFORE[there], AFTER[there]])
    for found, power in ((chi2_test(BEFORE, AFTER), 1.0), (g_test(BEFORE, AFTER), 0.0)):
        expected = chi2_contingency(table, correction=False, lambda_=power)
        assert found.statistic == pytest.approx(expected.statistic)
        assert found.freedom == expected.dof
        assert found.p_value == pytest.approx(expected.pvalue)


def test_one_level_on_both_sides_cannot_differ() -> None:
    one = np.array([0, 70, 0])
    assert tuple(chi2_test(one, one)) == (0.0, 0, 1.0)
    assert tuple(g_test(one, one)) == (0.0, 0, 1.0)


def test_distances_are_those_of_scipy() -> None:
    p, q = BEFORE / 1_000, AFTER / 100
    assert js_distance(BEFORE, AFTER) == pytest.approx(float(jensenshannon(p, q, base=2)))
    assert hellinger_distance(BEFORE, AFTER) == pytest.approx(math.sqrt(1 - float(np.sum(np.sqrt(p * q)))))
    apart = np.array([1, 0]), np.array([0, 1])
    assert (js_distance(*apart), hellinger_distance(*apart)) == pytest.approx((1.0, 1.0))
    assert (js_distance(BEFORE, BEFORE), hellinger_distance(BEFORE, BEFORE)) == (0.0, 0.0)


def test_effect_size_is_cohens_w_for_samples_of_one_size() -> None:
    test = chi2_test(np.array([600, 400]), np.array([400, 600]))
    assert effect_size(test._replace(freedom=0), 1_000, 1_000) == pytest.approx(math.sqrt(test.statistic / 2_000))
    assert effect_size(test, 1_000, 1_000) == pytest.approx(math.sqrt((test.statistic - 1) / 2_000))
    assert effect_size(test._replace(statistic=0.5), 1_000, 1_000) == 0.0


@pytest.mark.parametrize("times", [3, 50])
def test_effect_size_does_not_depend_on_how_much_larger_the_baseline_is(times: int) -> None:
    n, m = 1_000, 1_000 * times
    test = chi2_test(np.array([6, 4]) * (m // 10), np.array([400, 600]))
    assert effect_size(test._replace(freedom=0), n, m) == pytest.approx(math.sqrt(test.statistic * (n + m) / (4 * n * m)))


@pytest.mark.parametrize("name", ["chi2", "g"])
def test_critical_effect_is_that_of_the_quantile(name: OptionalName) -> None:
    test = (chi2_test if name == "chi2" else g_test)(BEFORE, AFTER)
    score, critical, p_value = measured(name)
    assert (score, p_value) == pytest.approx((effect_size(test, 100, 1_000), test.p_value))
    assert critical == pytest.approx(effect_size(test._replace(statistic=float(chi2.isf(LEVEL, 3))), 100, 1_000))
    assert measured(name, 0.9)[1] == 0.9


@pytest.mark.parametrize(("name", "nats"), [("js", math.log(2)), ("hellinger", 1.0)])
def test_squared_distance_is_judged_by_chi_squared(name: OptionalName, nats: float) -> None:
    distance = (js_distance if name == "js" else hellinger_distance)(BEFORE, AFTER)
    scale = 8 * effective_size(100, 1_000) * nats
    score, critical, p_value = measured(name)
    assert score == pytest.approx(distance)
    assert critical == pytest.approx(math.sqrt(float(chi2.isf(LEVEL, 3)) / scale))
    assert p_value == pytest.approx(float(chi2.sf(scale * distance**2, 3)))
    assert measured(name, 0.9)[1] == 0.9


@pytest.mark.parametrize("name", ["js", "hellinger", "chi2", "g"])
def test_one_level_alone_is_never_surely_different(name: OptionalName) -> None:
    one = ColumnBaseline("c", "categorical", Levels(("a",)), ColumnSketch(np.array([1_000, 0, 0])))
    assert measured(name, 0.3, one, np.array([200, 0, 0])) == (0.0, 0.3, 1.0)


EDGES = np.array([0.0, 1.0, 3.0, 4.0])
INSIDE = np.array([0, 50, 30, 20, 0])
NUMBERS = ColumnBaseline("x", "numeric", NumericBins(EDGES), ColumnSketch(INSIDE * 10))
# Middles 0.5, 2 and 3.5 with weights 0.5, 0.3 and 0.2.
DEVIATION = math.sqrt(0.5 * 0.5**2 + 0.3 * 2**2 + 0.2 * 3.5**2 - (0.5 * 0.5 + 0.3 * 2 + 0.2 * 3.5) ** 2)


def test_wasserstein_is_the_area_between_the_cumulative_shares() -> None:
    # Gaps at the edges: 0, -0.2, -0.1, 0; triangles and a trapezium of widths 1, 2 and 1.
    assert wasserstein(EDGES, INSIDE, np.array([0, 30, 40, 30, 0])) == pytest.approx((0.1 + 0.3 + 0.05) / DEVIATION)


def test_wasserstein_takes_two_triangles_where_the_lines_cross() -> None:
    # Gaps at the edges: 0, 0.1, -0.2, 0; between 1 and 3 the lines cross.
    after = np.array([0, 60, 0, 40, 0])
    crossed = 2 * (0.1**2 + 0.2**2) / (0.1 + 0.2) / 2
    assert wasserstein(EDGES, INSIDE, after) == pytest.approx((0.05 + crossed + 0.1) / DEVIATION)


def test_wasserstein_counts_what_lies_beyond_as_if_at_the_ends() -> None:
    # Gaps at the edges: 0.1, 0, 0, -0.1.
    after = np.array([10, 40, 30, 10, 10])
    assert wasserstein(EDGES, INSIDE, after) == pytest.approx((0.05 + 0.05) / DEVIATION)


def test_wasserstein_takes_an_infinite_first_edge_for_the_second() -> None:
    edges = np.array([-np.inf, 1.0, 3.0, 4.0])
    deviation = math.sqrt(0.5 * 1 + 0.3 * 2**2 + 0.2 * 3.5**2 - (0.5 * 1 + 0.3 * 2 + 0.2 * 3.5) ** 2)
    assert wasserstein(edges, INSIDE, np.array([0, 30, 40, 30, 0])) == pytest.approx((0.3 + 0.05) / deviation)


def test_wasserstein_of_a_baseline_without_deviation_is_nothing_or_infinite() -> None:
    edges = np.array([np.nextafter(7.0, -1.0), 7.0])
    assert wasserstein(edges, np.array([0, 9, 0]), np.array([0, 5, 0])) == 0.0
    point = np.array([0.0, 1.0, 2.0])
    assert wasserstein(point, np.array([0, 9, 0, 0]), np.array([0, 0, 5, 0])) == math.inf


def test_wasserstein_is_judged_by_the_margin_times_the_range() -> None:
    after = np.array([0, 60, 80, 60, 0])
    score, critical, p_value = measured("wasserstein", 0.01, NUMBERS, after)
    assert score == pytest.approx(0.45 / DEVIATION)
    assert critical == pytest.approx(float(ks_margin(200, 1_000, LEVEL)) * 4 / DEVIATION)
    assert p_value == pytest.approx(float(ks_p_value(0.45 / 4, 200, 1_000)))
    assert measured("wasserstein", 9.0, NUMBERS, after)[1] == 9.0


def test_wasserstein_of_a_constant_never_alarms_unless_something_moves() -> None:
    constant = ColumnBaseline("x", "numeric", NumericBins(np.array([0.0, 1.0, 2.0])), ColumnSketch(np.array([0, 1_000, 0, 0])))
    assert measured("wasserstein", 0.3, constant, np.array([0, 200, 0, 0])) == (0.0, 0.3, 1.0)


@pytest.mark.parametrize(("rows", "asked"), [(99, 100), (0, 0)])
def test_measures_need_rows(rows: int, asked: int) -> None:
    window = ColumnSketch(np.array([rows, 0, 0, 0, 0]))
    assert not list(optional_checks(LEVELS, window, {"js": 0.1}, level=LEVEL, min_rows=asked, psi_bins=10))


@pytest.mark.parametrize(("rows", "asked"), [(100, 100), (1, 0)])
def test_measures_need_no_more_rows_than_asked_for(rows: int, asked: int) -> None:
    window = ColumnSketch(np.array([rows, 0, 0, 0, 0]))
    assert len(list(optional_checks(LEVELS, window, {"js": 0.1}, level=LEVEL, min_rows=asked, psi_bins=10))) == 1


def test_what_the_baseline_has_no_value_of_is_not_measured() -> None:
    nothing = ColumnBaseline("c", "categorical", Levels(("a", "b", "c")), ColumnSketch(np.zeros(5, dtype=np.int64), nulls=9))
    empty = ColumnBaseline("z", "empty", None, ColumnSketch(np.array([0]), nulls=9))
    for column in (nothing, empty):
        window = ColumnSketch(np.full(column.size, 100))
        assert not list(optional_checks(column, window, {"js": 0.1}, level=LEVEL, min_rows=100, psi_bins=10))


def test_range_alone_leaves_out_levels() -> None:
    names: list[OptionalName] = ["wasserstein", "js", "g"]
    found = optional_checks(LEVELS, ColumnSketch(AFTER), dict.fromkeys(names, 0.1), level=LEVEL, min_rows=100, psi_bins=10)
    assert [check.name for check in found] == ["js", "g"]
