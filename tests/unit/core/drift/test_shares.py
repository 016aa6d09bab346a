"""The exact test of a share against what it is made of: binomial tails, counted out."""

from __future__ import annotations

import itertools
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaincinv

from driftsonde.core.drift.shares import BETA, share_critical, share_interval, share_limits, share_p_value

STEADY = settings(derandomize=True, deadline=None)
MARGIN = 0.5


def tail(n: int, counts: range, p: float) -> float:
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts)


def by_hand(x: int, n: int, y: int, m: int, null: float, *, two_sided: bool) -> float:
    highest = 1.0 if y == m else min(1.0, float(betaincinv(y + 1, m - y, 1 - BETA)) + null)
    lowest = 0.0 if y == 0 else float(betaincinv(y, m - y + 1, BETA)) - null
    rise = tail(n, range(x, n + 1), highest)
    fall = 1.0 if lowest <= 0 else tail(n, range(x + 1), lowest)
    return float(min(1.0, (2 * min(rise, fall) if two_sided else rise) + BETA))


@settings(STEADY, max_examples=300)
@given(st.integers(1, 25), st.integers(1, 40), st.sampled_from([0.0, 0.01, 0.25]), st.booleans(), st.data())
def test_p_value_is_the_binomial_tail_at_the_limit(n: int, m: int, null: float, two_sided: bool, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    ours = share_p_value(x, n, share_limits(y, m), null=null, two_sided=two_sided)
    assert ours == pytest.approx(by_hand(x, n, y, m, null, two_sided=two_sided), rel=1e-6, abs=1e-14)


@settings(STEADY, max_examples=200)
@given(st.integers(1, 400), st.integers(1, 2_000), st.sampled_from([0.02, 0.05, 0.3]), st.booleans(), st.data())
def test_critical_rise_is_the_smallest_count_that_alarms(n: int, m: int, threshold: float, two_sided: bool, data: st.DataObject) -> None:
    y = data.draw(st.integers(0, m))
    expected, level = y / m, 1e-5

    def alarms(x: int) -> bool:
        p_value = share_p_value(x, n, share_limits(y, m), null=MARGIN * threshold, two_sided=two_sided)
        return x / n - expected >= threshold and p_value <= level

    critical = share_critical(
        n, share_limits(y, m), expected=expected, threshold=threshold, margin=MARGIN, level=level, two_sided=two_sided
    )
    smallest = next((x for x in range(n + 1) if alarms(x)), None)
    assert critical >= threshold
    if smallest is None:
        assert critical == 1.0 or critical > (n - 1) / n - expected
    else:
        assert smallest / n - expected >= critical
        assert smallest == 0 or (smallest - 1) / n - expected < critical


def test_rise_that_no_count_could_prove_has_critical_one() -> None:
    assert share_critical(1, share_limits(0, 100), expected=0.0, threshold=0.05, margin=MARGIN, level=1e-6, two_sided=True) == 1.0


@settings(STEADY, max_examples=100)
@given(st.integers(2, 200), st.integers(1, 500), st.data())
def test_p_value_falls_as_the_count_rises(n: int, m: int, data: st.DataObject) -> None:
    y = data.draw(st.integers(0, m))
    found = [share_p_value(x, n, share_limits(y, m), null=0.01, two_sided=False) for x in range(n + 1)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(found))


def test_a_fall_counts_only_where_two_sides_do() -> None:
    assert share_p_value(0, 1_000, share_limits(500, 1_000), null=0.05, two_sided=True) < 1e-9
    assert share_p_value(0, 1_000, share_limits(500, 1_000), null=0.05, two_sided=False) == 1.0


@settings(STEADY, max_examples=100)
@given(st.integers(1, 1_000), st.data())
def test_interval_contains_the_observed_share(n: int, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, n))
    low, high = share_interval(x, n)
    assert 0 <= low <= x / n <= high <= 1


def test_interval_is_the_published_one() -> None:
    assert list(share_interval(0, 10)) == pytest.approx([0.0, 0.3085], abs=1e-4)
    assert list(share_interval(3, 10)) == pytest.approx([0.0667, 0.6525], abs=1e-4)
