"""Levels: which are tracked, and what counts as other or unseen."""

from __future__ import annotations

import random
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.sketch.categorical import Levels, fit_levels

STEADY = settings(derandomize=True, deadline=None)
letters = st.dictionaries(st.sampled_from(string.ascii_lowercase), st.integers(1, 5), min_size=1)


@settings(STEADY, max_examples=100)
@given(letters, st.integers(1, 30), st.randoms(use_true_random=False))
def test_levels_do_not_depend_on_the_order_of_rows(frequencies: dict[str, int], most: int, shuffler: random.Random) -> None:
    names = list(frequencies)
    shuffler.shuffle(names)
    one = fit_levels(frequencies, max_categories=most, complete=True)
    other = fit_levels({name: frequencies[name] for name in names}, max_categories=most, complete=True)
    assert (one.tracked, one.others) == (other.tracked, other.others)


@settings(STEADY, max_examples=100)
@given(letters, st.integers(1, 30))
def test_every_value_is_counted_exactly_once(frequencies: dict[str, int], most: int) -> None:
    levels = fit_levels(frequencies, max_categories=most, complete=True)
    counts = levels.count([*frequencies.items(), ("never seen", 3)])
    assert counts.sum() == sum(frequencies.values()) + 3
    assert counts[-1] == 3
    assert counts[-2] == sum(sorted(frequencies.values(), reverse=True)[most:])


def test_levels_beyond_memory_are_other_and_not_unseen() -> None:
    levels = Levels(("a",), frozenset({"b"}), complete=False)
    assert levels.count([("a", 1), ("b", 2), ("z", 4)]).tolist() == [1, 6, 0]


def test_level_that_comes_twice_is_added_up() -> None:
    assert Levels(("a",)).count([("a", 1), ("a", 2)]).tolist() == [3, 0, 0]


def test_labels_name_levels_other_and_unseen() -> None:
    levels = Levels(("red", "blue"))
    assert [levels.label(index) for index in range(levels.size)] == ["red", "blue", "(other)", "(unseen)"]
