"""Numeric bins: what their edges promise, and that counting keeps it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from driftsonde.core.drift.ks import ks_distance
from driftsonde.core.sketch.counts import Floats
from driftsonde.core.sketch.numeric import NumericBins, fit_numeric

STEADY = settings(derandomize=True, deadline=None)
TOP = sys.float_info.max
HOSTILE = [0.0, -0.0, 5e-324, -5e-324, sys.float_info.min, 1.0, np.nextafter(1.0, 2), -1.0, 1e308, -1e308, TOP, -TOP, np.nextafter(TOP, 0)]

floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(
    st.lists(floats, min_size=1, max_size=60),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=60),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=200),
    st.lists(st.one_of(st.just(7.0), floats), min_size=1, max_size=100),
)


def fit(sample: Floats, bins: int) -> NumericBins:
    distinct = np.unique(sample)
    return fit_numeric(
        sample, minimum=float(sample.min()), maximum=float(sample.max()), distinct=distinct if len(distinct) <= bins else None, bins=bins
    )


def exact_distance(baseline: Sequence[float] | Floats, window: Sequence[float] | Floats) -> float:
    with np.errstate(all="ignore"):  # scipy's p-value, which is not used, divides by zero for one value
        return float(ks_2samp(baseline, window, method="asymp").statistic)


@settings(STEADY, max_examples=300)
@given(values, st.sampled_from([1, 2, 4, 16, 64]))
def test_edges_strictly_increase_for_any_data(data: list[float], bins: int) -> None:
    edges = fit(np.array(data), bins).edges
    assert np.all(edges[1:] > edges[:-1])
    assert edges[-1] == max(data)
    assert edges[0] < min(data)


@settings(STEADY, max_examples=200)
@given(values, st.sampled_from([2, 16, 64]))
def test_baseline_never_lies_outside_its_own_range(data: list[float], bins: int) -> None:
    counts = fit(np.array(data), bins).count(np.array(data)).counts
    assert (counts[0], counts[-1], counts.sum()) == (0, 0, len(data))


@settings(STEADY, max_examples=300)
@given(values, values, st.sampled_from([2, 16, 64]))
def test_bracket_contains_the_exact_distance_of_raw_values(baseline: list[float], window: list[float], bins: int) -> None:
    frozen = fit(np.array(baseline), bins)
    bracket = ks_distance(frozen.count(np.array(baseline)).counts, frozen.count(np.array(window)).counts, frozen.single_valued())
    assert bracket.lower - 1e-12 <= exact_distance(baseline, window) <= bracket.upper + 1e-12


@settings(STEADY, max_examples=150)
@given(st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=100), st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=100))
def test_few_distinct_values_make_the_distance_exact(baseline: list[float], window: list[float]) -> None:
    frozen = fit(np.array(baseline), 64)
    bracket = ks_distance(frozen.count(np.array(baseline)).counts, frozen.count(np.array(window)).counts, frozen.single_valued())
    assert bracket.lower == bracket.upper == pytest.approx(exact_distance(baseline, window), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_bracket_of_many_bins_is_narrow(seed: int) -> None:
    random = np.random.default_rng(seed)
    baseline, window = random.normal(size=20_000), random.normal(0.1, 1.2, size=1_000)
    frozen = fit(baseline, 256)
    bracket = ks_distance(frozen.count(baseline).counts, frozen.count(window).counts, frozen.single_valued())
    assert bracket.lower <= exact_distance(baseline, window) <= bracket.upper
    assert bracket.upper - bracket.lower < 0.02


@settings(STEADY, max_examples=60)
@given(values, st.lists(st.one_of(floats, st.sampled_from(HOSTILE)), min_size=1, max_size=40))
def test_small_and_large_batches_count_alike(baseline: list[float], data: list[float]) -> None:
    frozen = fit(np.array(baseline), 16)
    repeats = 16 * len(frozen.edges)  # the whole is long enough to be sorted, each part short enough to be looked up
    whole = frozen.count(np.tile(np.array(data), repeats)).counts
    assert np.array_equal(whole, repeats * frozen.count(np.array(data)).counts)


def test_counting_leaves_the_values_as_they_were() -> None:
    frozen, data = fit(np.arange(10.0), 64), np.random.default_rng(0).normal(size=5_000)
    before = data.copy()
    frozen.count(data)
    frozen.count(data[:10])
    assert np.array_equal(data, before)


def test_value_on_an_edge_belongs_to_the_bin_below() -> None:
    bins = NumericBins(np.array([0.0, 1.0, 2.0]))
    assert bins.count(np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])).counts.tolist() == [1, 2, 2, 1]


def test_frequent_value_gets_a_bin_of_its_own() -> None:
    random = np.random.default_rng(1)
    data = np.concatenate([np.zeros(600), random.normal(size=400)])
    bins = fit(data, 64)
    assert 600 in bins.count(data).counts[bins.single_valued()]


def test_value_beyond_the_sample_widens_the_range() -> None:
    sample = np.random.default_rng(2).normal(size=1_000)
    bins = fit_numeric(sample, minimum=-50.0, maximum=70.0, distinct=None, bins=16)
    assert bins.count(np.array([-50.0, 70.0])).counts[[0, -1]].tolist() == [0, 0]
    assert bins.count(np.array([-50.1, 70.1])).counts[[0, -1]].tolist() == [1, 1]


def test_zeros_of_either_sign_give_the_same_edges() -> None:
    one, other = fit(np.array([0.0, -0.0, 1.0]), 64), fit(np.array([-0.0, 0.0, 1.0]), 64)
    assert one.edges.tobytes() == other.edges.tobytes()


@pytest.mark.parametrize("edges", [[1.0], [1.0, 1.0], [2.0, 1.0], [np.nan, 1.0], [0.0, np.inf], [0.0, np.nan, 1.0], [-np.inf, np.inf]])
def test_edges_that_are_no_bins_are_refused(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        NumericBins(np.array(edges))


def test_labels_tell_ranges_and_single_values_apart() -> None:
    constant: NDArray[np.float64] = np.full(10, 7.0)
    assert [fit(constant, 64).label(index) for index in range(3)] == ["< 7", "= 7", "> 7"]
    assert [NumericBins(np.array([0.0, 1.0, 2.0])).label(index) for index in range(4)] == ["< 0", "(0, 1]", "(1, 2]", "> 2"]


NARROW = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float16, np.float32, np.float64]


@settings(STEADY, max_examples=200)
@given(values, st.sampled_from(NARROW), st.lists(st.integers(-200, 70_000), min_size=1, max_size=50), st.booleans())
def test_narrow_types_count_as_the_floats_they_are(
    baseline: list[float], dtype: type, data: list[int], long: bool
) -> None:  # hypothesis gives it by place
    frozen = fit(np.array(baseline), 16)
    with np.errstate(all="ignore"):
        narrow: NDArray[Any] = np.array(data).astype(dtype)
    narrow = np.tile(narrow, 200 if long else 1)  # long enough to be sorted, or short enough to be looked up
    exact = narrow.astype(np.float64)
    assert frozen.count(narrow) == frozen.count(exact)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint64])
def test_ends_of_an_integer_type_are_counted(dtype: type) -> None:
    ends: NDArray[Any] = np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype=dtype)
    frozen = NumericBins(np.array([-1e300, -1.0, 0.0, 1.0, 1e300]))
    assert frozen.count(ends) == frozen.count(ends.astype(np.float64))
    assert frozen.count(ends).valid == 3


@pytest.mark.parametrize("value", [-(2**53) - 1, -(2**53), -(2**53) + 1, 2**53 - 1, 2**53, 2**53 + 1])
def test_integers_where_floats_end_to_be_exact_count_as_floats(value: int) -> None:
    frozen = NumericBins(np.array([-1e300, -(2.0**53), 0.0, 2.0**53, 1e300]))
    assert frozen.count(np.array([value])) == frozen.count(np.array([float(value)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("repeats", [1, 500])
def test_missing_and_infinite_values_are_told_from_numbers(dtype: type, repeats: int) -> None:
    data: NDArray[Any] = np.tile(np.array([np.nan, np.inf, -np.inf, 0.5, np.finfo(dtype).max, np.finfo(dtype).min], dtype=dtype), repeats)
    found = NumericBins(np.array([0.0, 1.0])).count(data)
    assert (found.counts.tolist(), found.nulls, found.invalid) == ([repeats, repeats, repeats], repeats, 2 * repeats)
    assert found.rows == len(data)
