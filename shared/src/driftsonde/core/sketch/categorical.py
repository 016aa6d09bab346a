"""Levels of a categorical column, and how they are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from driftsonde.core.sketch.numeric import Counts

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
    def _slots(self) -> dict[str, int]:
        other = len(self.tracked)
        return dict.fromkeys(self.others, other) | {level: slot for slot, level in enumerate(self.tracked)}

    def count(self, weights: Iterable[tuple[str, int]]) -> Counts:
        """Count (level, how often) pairs; a level may come more than once.

        Returns:
            Counts of shape (size,).
        """
        counts = np.zeros(self.size, dtype=np.int64)
        strange = self.size - 1 if self.complete else self.size - 2
        for level, weight in weights:
            counts[self._slots.get(level, strange)] += weight
        return counts

    def label(self, index: int) -> str:
        """Return a slot's name for people."""
        return (*self.tracked, "(other)", "(unseen)")[index]


def fit_levels(frequencies: Mapping[str, int], *, max_categories: int, complete: bool) -> Levels:
    """Choose the levels to track: the most frequent ones, ties in alphabetical order so that no order of rows matters."""
    ranked = sorted(frequencies, key=lambda level: (-frequencies[level], level))
    return Levels(tuple(ranked[:max_categories]), frozenset(ranked[max_categories:]), complete)
