"""Levels: which are tracked, and what counts as other or unseen."""

from __future__ import annotations

import random
import string

import numpy as np
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
def test_every_level_has_one_slot(frequencies: dict[str, int], most: int) -> None:
    levels = fit_levels(frequencies, max_categories=most, complete=True)
    assert sorted(levels.names) == sorted(frequencies)
    slots = levels.slots(np.arange(len(levels.names)))
    assert slots.tolist() == [min(place, len(levels.tracked)) for place in range(len(frequencies))]
    assert levels.names[: len(levels.tracked)] == levels.tracked


def test_what_is_no_level_is_unseen() -> None:
    levels = Levels(("a",), frozenset({"b"}))
    assert levels.slots(np.array([0, 1, -1])).tolist() == [0, 1, 2]


def test_what_is_no_level_is_other_where_levels_were_forgotten() -> None:
    levels = Levels(("a",), frozenset({"b"}), complete=False)
    assert levels.slots(np.array([0, 1, -1])).tolist() == [0, 1, 1]


def test_labels_name_levels_other_and_unseen() -> None:
    levels = Levels(("red", "blue"))
    assert [levels.label(index) for index in range(levels.size)] == ["red", "blue", "(other)", "(unseen)"]
