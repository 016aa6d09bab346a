"""Look-back: what one window cannot show, the last 2, 4, 8, ... windows together may (statistics: 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.reference import Flags, Merged, Reference, Results
from driftsonde.core.sketch.counts import ColumnSketch, Counts, Floats
from driftsonde.core.sketch.table import TableSketch


class History:
    """Windows, newest first, and which columns each has; a column absent from a window is skipped there.

    Args:
        windows: oldest first, at least one.
    """

    def __init__(self, windows: Sequence[TableSketch]) -> None:
        self._windows = windows[::-1]
        self._sizes = np.diff(windows[-1].layout.starts)
        self.has: Flags = windows[-1].seen > 0
        """Shape (columns,), whether any row of the newest window has the column."""

    @cached_property
    def _present(self) -> Flags:
        return np.array([window.seen for window in self._windows]) > 0

    @cached_property
    def _rank(self) -> NDArray[np.int64]:
        """Shape (windows, columns), how many windows from the newest on to this one have the column."""
        return np.cumsum(self._present, axis=0)

    @property
    def depth(self) -> NDArray[np.int64]:
        """Shape (columns,), how many windows have the column."""
        deepest: Counts = self._rank[-1]
        return deepest

    def newest(self) -> Merged:
        """Return the newest window alone."""
        window = self._windows[0]
        return Merged(window.counts.copy(), self._nulls(window) * self.has, window.invalid.copy())

    def extend(self, merged: Merged, begin: int, end: int) -> None:
        """Add to each column the windows that are its (begin + 1)-th to `end`-th newest."""
        wanted = self._present & (self._rank > begin) & (self._rank <= end)
        for place in np.flatnonzero(wanted.any(axis=1)).tolist():
            window, mine = self._windows[place], wanted[place]
            merged.counts[:] += window.counts if mine.all() else window.counts * np.repeat(mine, self._sizes)
            merged.nulls[:] += self._nulls(window) * mine
            merged.invalid[:] += window.invalid * mine

    def _nulls(self, window: TableSketch) -> Counts:
        """Rows of drops that lacked a column count as nulls."""
        nulls: Counts = np.maximum(window.rows - window.seen, 0) + window.nulls
        return nulls


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the scales showed.

    Args:
        single: the results of the newest window alone.
        final: each check at the scale that its answer comes from.
        scale: shape (5, columns), that scale.
        decided: shape (columns,), whether some check alarms.
        enough: shape (columns,), whether some scale had the rows that distribution checks need.
    """

    single: Results
    final: Results
    scale: NDArray[np.int64]
    decided: Flags
    enough: Flags


def look_back(reference: Reference, history: History, thresholds: Floats, parameters: Parameters, level: float) -> Outcome:
    """Merge more and more windows until each column's answer is clear.

    A check whose effect lies below its threshold at one scale is not evaluated at a larger one, and a column stops at its first
    alarm.
    """
    measure = partial(reference.measure, margin=parameters.margin, level=level, min_rows=parameters.min_rows)
    going = history.has
    merged = history.newest()
    single = measure(merged, thresholds)
    decided: Flags = np.logical_and(single.drift.any(axis=0), going)
    outcome = Outcome(single, single.at(going), np.ones(thresholds.shape, dtype=np.int64), decided, single.enough.copy())
    final = outcome.final
    for scale in parameters.scales()[1:]:
        # What is above its threshold may yet prove to be so; what needs more rows may get them.
        open_ = final.there & (final.score >= thresholds)
        going = going & ~outcome.decided & (open_.any(axis=0) | ~outcome.enough)
        if not going.any():
            break
        going = going & (history.depth >= scale)
        history.extend(merged, scale // 2, scale)
        better = going & (~final.there | open_)
        now = measure(merged, thresholds, wanted=np.any(better, axis=1).tolist())
        better &= now.there
        final.take(now, better)
        outcome.scale[better] = scale
        outcome.enough[going] |= now.enough[going]
        decided |= (now.drift & better).any(axis=0)
    return outcome


def merged_column(windows: Sequence[TableSketch], name: str, scale: int) -> ColumnSketch:
    """Return what a check of a column was computed on: the newest `scale` of the windows that have it, added up."""
    history = History(windows)
    merged = history.newest()
    if scale > 1:
        history.extend(merged, 1, scale)
    layout = windows[-1].layout
    place = layout.places[name]
    return ColumnSketch(merged.counts[layout.slots(name)], int(merged.nulls[place]), int(merged.invalid[place]))
