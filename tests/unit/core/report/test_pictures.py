"""Pictures: well-formed, true to the counts, and drawn of whatever bins there are."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.drift.ks import ks_distance
from driftsonde.core.report.model import Categories, Numbers, PsiGroup
from driftsonde.core.report.pictures import category_bars, density, distribution_functions, psi_bars
from driftsonde.core.report.scales import beyond, largest_gap, pieces, short, ticks, values, view_of
from driftsonde.core.sketch.numeric import NumericBins, fit_numeric
from driftsonde.core.svg import path, tag

STEADY = settings(derandomize=True, deadline=None, max_examples=150)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def counted(before: list[float], now: list[float], bins: int = 16) -> Numbers:
    a, b = np.array(before), np.array(now)
    distinct = np.unique(a)
    found = fit_numeric(a, minimum=a.min(), maximum=a.max(), distinct=distinct if len(distinct) <= bins else None, bins=bins)
    edges = np.clip(found.edges, -1.7e308, 1.7e308)
    return Numbers(
        tuple(edges.tolist()),
        tuple(found.single_valued().tolist()),
        tuple(found.count(a).counts.tolist()),
        tuple(found.count(b).counts.tolist()),
    )


@STEADY
@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(FLOATS, min_size=1, max_size=60))
def test_any_numbers_give_well_formed_pictures(before: list[float], now: list[float]) -> None:
    numbers = counted(before, now)
    for picture in (density(numbers, "<x>"), distribution_functions(numbers, "a&b")):
        root = ET.fromstring(picture)
        assert root.get("role") == "img"
        assert not {"nan", "inf"} & {word for value in root.iter() for word in str(value.attrib).lower().replace("'", " ").split()}


@STEADY
@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(FLOATS, min_size=1, max_size=60))
def test_what_is_drawn_and_what_lies_beyond_is_everything(before: list[float], now: list[float]) -> None:
    numbers = counted(before, now)
    view = view_of(numbers)
    drawn, ends = pieces(numbers, view), beyond(numbers, view)
    for side in (0, 1):
        inside = sum(piece.now if side else piece.before for piece in drawn)
        assert inside + ends[0][side] + ends[1][side] == pytest.approx(1)
    assert all(piece.begin <= piece.end for piece in drawn)


def test_gap_is_where_the_distance_is_measured() -> None:
    random = np.random.default_rng(3)
    numbers = counted(random.normal(size=500).tolist(), random.normal(0.5, size=300).tolist(), 64)
    bins = NumericBins(np.array(numbers.edges))
    expected = ks_distance(np.array(numbers.before), np.array(numbers.now), bins.single_valued()).lower
    assert largest_gap(numbers).size == pytest.approx(expected)
    assert f"KS {expected:.3f}" in distribution_functions(numbers, "x")


def test_long_tail_is_left_out_and_told() -> None:
    random = np.random.default_rng(3)
    numbers = counted(np.exp(3 * random.normal(size=5_000)).tolist(), np.exp(3 * random.normal(size=500)).tolist(), 256)
    view = view_of(numbers)
    assert view.high < max(numbers.edges) / 10
    assert 0 < beyond(numbers, view)[1][0] <= 0.05
    assert f">&gt; {short(view.high)}</text>" in density(numbers, "x")


def test_few_values_are_drawn_one_by_one() -> None:
    numbers = counted([0, 1, 1, 2, 2, 2, 3] * 50, [0, 2, 2, 9] * 20)
    found = values(numbers)
    assert found is not None
    assert [value for value, _, _ in found] == [0, 1, 2, 3]
    assert [now for _, _, now in found] == [0.25, 0, 0.5, 0]
    assert "above the greatest: 0% → 25.0%" in density(numbers, "x")
    assert values(counted(np.random.default_rng(1).normal(size=500).tolist(), [0.0], 64)) is None


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 7), (0, 850), (1e-9, 2e-9), (-1.7e308, 1.7e308), (5, 5), (1e15, 1e15 + 1), (-5e-324, 5e-324)]
)
def test_ticks_are_few_and_between(low: float, high: float) -> None:
    found = list(ticks(low, high))
    assert 0 < len(found) <= 6
    assert all(low - abs(low) * 1e-9 <= value <= high + abs(high) * 1e-9 for value in found)


def test_rows_of_bars_carry_whole_labels_as_titles() -> None:
    long = "x" * 40
    bars = category_bars(Categories((long, "<b>"), (0.4, 0.6), (0.9, 0.1)), "c")
    root = ET.fromstring(bars)
    assert long in [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "40.0% → 90.0%" in bars
    assert "&lt;b&gt;" in bars
    assert "0.250 ↑ 10.0% → 20.0%" in psi_bars([PsiGroup("(0, 1]", 0.1, 0.2, 0.25)], "c")


def test_tags_escape_text_and_attributes_but_not_tags() -> None:
    assert tag("text", "<&", tag("title", '"'), fill='"><b>', x=1.25, text_anchor="end", class_="c") == (
        '<text fill="&#34;&gt;&lt;b&gt;" x="1.2" text-anchor="end" class="c">&lt;&amp;<title>&#34;</title></text>'
    )
    assert path([(0, 0), (0.1, 0), (0.2, 0.1), (3, 3), (3.1, 3)]) == "0.0,0.0 3.0,3.0 3.1,3.0"
