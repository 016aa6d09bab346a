"""Levels of a categorical column, and how they are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MAX_SEEN = 10_000
"""Levels that a baseline remembers; a column with more is an identifier, and unseen levels are not checked."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels of a baseline column; the slots are one per tracked level, then `other`, then `unseen`.

    Args:
        tracked: the most frequent levels, most frequent first.
        others: the rest of the levels that were seen; counted together as `other`.
        complete: False when there were more than `MAX_SEEN`: then nothing counts as unseen.
    """

    tracked: tuple[str, ...]
    others: frozenset[str] = field(default_factory=frozenset)
    complete: bool = True

    @property
    def size(self) -> int:
        """Number of slots: tracked levels, other, unseen."""
        return len(self.tracked) + 2

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every level that was seen, tracked ones first."""
        return (*self.tracked, *sorted(self.others))

    @property
    def strange(self) -> int:
        """The slot of what is none of the names."""
        return self.size - 1 if self.complete else self.size - 2

    def slots(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the slots of levels given by their place in `names`; a negative place is none of them."""
        return np.where(places < 0, self.strange, np.minimum(places, len(self.tracked)))

    def label(self, index: int) -> str:
        """Return a slot's name for people."""
        return (*self.tracked, "(other)", "(unseen)")[index]


def fit_levels(frequencies: Mapping[str, int], *, max_categories: int, complete: bool) -> Levels:
    """Choose the levels to track: the most frequent ones, ties in alphabetical order so that no order of rows matters."""
    ranked = sorted(frequencies, key=lambda level: (-frequencies[level], level))
    return Levels(tuple(ranked[:max_categories]), frozenset(ranked[max_categories:]), complete)
