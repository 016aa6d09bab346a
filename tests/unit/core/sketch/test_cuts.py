"""Counting by sorted float32 is exact: it equals comparing every value with every cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftsonde.core.sketch.cuts import Cuts, TooLargeError, _Narrow

_ROWS = 70_000  # a whole block, in which float32 pays, and a rest
_EPS32 = float(np.finfo(np.float32).eps)


def _counted(values: NDArray[Any], cuts: NDArray[Any], present: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    kept = np.sort(values if present is None else values[present])
    return np.searchsorted(kept, cuts, side="right")


def _normal(rng: np.random.Generator) -> NDArray[Any]:
    return rng.normal(size=_ROWS)


KINDS: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "about zero": _normal,
    "far from zero": lambda rng: rng.normal(1e9, 1.0, _ROWS),
    "farther than float32 tells apart": lambda rng: 1e15 + rng.integers(0, 40, _ROWS) * 0.125,
    "beyond float32": lambda rng: rng.normal(size=_ROWS) * 1e300,
    "below float32": lambda rng: rng.normal(size=_ROWS) * 1e-300,
    "whole numbers": lambda rng: rng.integers(0, 300, _ROWS).astype(float),
    "whole numbers far from zero": lambda rng: 1.7e9 + rng.integers(0, 86_400, _ROWS),
    "cents": lambda rng: np.round(rng.gamma(2.0, 20.0, _ROWS), 2),
    "neighbours in float32": lambda rng: 1.0 + rng.integers(-40, 40, _ROWS) * _EPS32 / 8,
    "a constant": lambda _: np.full(_ROWS, 0.1),
    "an atom at zero": lambda rng: np.where(rng.random(_ROWS) < 0.6, 0.0, rng.exponential(size=_ROWS)),
    "signed zeros": lambda rng: np.where(rng.random(_ROWS) < 0.5, -0.0, 0.0),
    "infinities and NaN": lambda rng: rng.choice([-np.inf, np.inf, np.nan, 1.0, 1.7e308, -1.7e308], _ROWS),
    "nothing but NaN": lambda _: np.full(_ROWS, np.nan),
}


@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_floats_are_counted_exactly(kind: str, missing: float) -> None:
    rng = np.random.default_rng(7)
    values = KINDS[kind](rng)
    known = values[np.isfinite(values)]
    edges = np.unique(np.concatenate([rng.choice(known, 100), [known.min(), known.max()]])) if len(known) else np.array([0.0, 1.0])
    cuts = np.unique(np.concatenate([np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)]))
    cuts = np.concatenate([[-np.inf], cuts[np.isfinite(cuts)], [np.finfo(float).max, np.inf]])
    present = rng.random(_ROWS) >= missing if missing else None
    before = values.copy()
    assert Cuts(cuts).below(values, present).tolist() == _counted(values, cuts, present).tolist()
    assert np.array_equal(values, before, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.uint8])
@pytest.mark.parametrize(("start", "span"), [(0, 100), (0, 1 << 40), (1_700_000_000, 86_400), (-1_000, 2_000), ((1 << 53) - 50, 51)])
def test_integers_are_counted_exactly(dtype: type, start: int, span: int) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(3)
    values: NDArray[Any] = np.clip(start + rng.integers(0, span, _ROWS), limits.min, limits.max).astype(dtype)
    cuts = np.unique(np.concatenate([rng.choice(values, 200).astype(np.int64), [start - 1, start + span // 2]]))
    for present in (None, rng.random(_ROWS) < 0.7):
        assert Cuts(cuts).below(values, present).tolist() == _counted(values, cuts, present).tolist()


def test_integers_too_large_for_floats_are_refused_and_missing_ones_may_hold_anything() -> None:
    cuts = Cuts(np.arange(0, 1_000, 2))
    values = np.arange(_ROWS)
    values[5] = (1 << 53) + 1
    with pytest.raises(TooLargeError):
        cuts.below(values)
    with pytest.raises(TooLargeError):
        cuts.below(values[:10])
    present = np.arange(_ROWS) != 5
    assert cuts.below(values, present)[-1] == 998


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, width=64), min_size=1, max_size=40),
    st.lists(st.floats(allow_nan=False, width=64), min_size=5, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_any_floats_are_counted_exactly(some: list[float], cuts: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([*some, *cuts, *np.nextafter(cuts, 0.0)], 8_192)
    ordered = np.sort(np.array(cuts))
    present = rng.random(len(values)) < 0.8
    assert Cuts(ordered).below(values, present).tolist() == _counted(values, ordered, present).tolist()


@pytest.mark.parametrize(
    "order", [("about zero", "whole numbers", "cents"), ("cents", "about zero"), ("whole numbers", "cents", "whole numbers")]
)
def test_what_came_before_never_changes_a_count(order: tuple[str, ...]) -> None:
    rng = np.random.default_rng(5)
    drawn = [KINDS[kind](rng) for kind in order]
    values = np.concatenate(drawn)
    cuts = np.sort(rng.choice(values, 100))
    learning = Cuts(cuts)
    for some in [*drawn, *drawn]:
        assert learning.below(some).tolist() == _counted(some, cuts).tolist()


def _edges(values: NDArray[Any]) -> NDArray[Any]:
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, 100), method="inverted_cdf"))


@pytest.mark.parametrize("kind", ["about zero", "far from zero", "an atom at zero", "a constant"])
def test_float32_serves_where_values_are_spread_or_few_cuts_are_hit(kind: str) -> None:
    rng = np.random.default_rng(11)
    narrow = _Narrow(_edges(KINDS[kind](rng)))
    assert all(narrow.below(KINDS[kind](rng)[:20_000], None) is not None for _ in range(8))


@pytest.mark.parametrize("kind", ["cents", "whole numbers"])
def test_column_that_repeats_is_tried_ever_more_seldom(kind: str) -> None:
    rng = np.random.default_rng(11)
    values = KINDS[kind](rng)[:8_192]
    narrow = _Narrow(_edges(values))
    tried = []
    for block in range(300):
        resting = narrow._resting
        assert narrow.below(values, None) is None
        if not resting:
            tried.append(block)
    assert tried == [0, 3, 8, 17, 34, 67, 132, 197, 262]


def test_float32_is_tried_at_once_after_it_served() -> None:
    rng = np.random.default_rng(11)
    spread, repeated = rng.normal(size=10_000), np.round(rng.normal(size=10_000), 1)
    narrow = _Narrow(_edges(repeated))
    assert narrow.below(repeated, None) is None
    assert [narrow.below(spread, None) is not None for _ in range(3)] == [False, False, True]
    assert narrow.below(repeated, None) is None
    assert [narrow.below(spread, None) is not None for _ in range(3)] == [False, False, True]


def test_integers_need_no_learning() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 300, 10_000)
    assert _Narrow(np.arange(0, 300, 3)).below(values, None) is not None
    assert _Narrow(np.arange(0, 1 << 53, 1 << 45)).below(rng.integers(0, 1 << 53, 10_000), None) is None  # too near what floats round
