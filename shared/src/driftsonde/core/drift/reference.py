"""Every check of every column at one scale: counts in, results out, all columns at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.drift.checks import OUTSIDE_OF_RANGE
from driftsonde.core.drift.ks import ks_critical, ks_distance, ks_margin, ks_p_value
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.psi import level_groups, numeric_groups, psi, psi_critical, psi_p_value
from driftsonde.core.drift.shares import share_critical, share_interval, share_limits, share_p_value
from driftsonde.core.drift.tv import tv_bias, tv_critical, tv_distance, tv_margin, tv_p_value
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import Counts, Floats
from driftsonde.core.sketch.numeric import NumericBins

Flags = NDArray[np.bool_]

NULLS, INVALID, OUTSIDE, DISTANCE, PSI = range(5)
"""Rows of every table of results; the order in which checks are reported."""
ROWS: Final = ("nulls", "invalid", "outside", "distance", "psi")
"""Their thresholds' names."""

_95 = 0.05
_Z_95 = 1.959963984540054
_SHARES = slice(NULLS, DISTANCE)
_TWO_SIDED = np.array([[True], [True], [False]])


class Merged(NamedTuple):
    """Windows added up: counts of shape (width,), nulls and invalid values of shape (columns,)."""

    counts: Counts
    nulls: Counts
    invalid: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Every check of every column, as far as something depends on it; arrays of shape (5, columns).

    Args:
        there: which could be evaluated; what the others hold means nothing.
        critical: the score from which a check alarms; of distances and psi only.
        slack: what a distance may be by chance on average; of psi the standard error.
        counted: shape (3, columns), what the share checks counted among n.
        upper: shape (columns,), the upper end of the distance's bracket; NaN where there is none.
        enough: shape (columns,), whether there are the values that distribution checks need.
    """

    there: Flags
    drift: Flags
    score: Floats
    critical: Floats
    slack: Floats
    n: Counts
    counted: Counts
    upper: Floats
    enough: Flags

    @classmethod
    def empty(cls, columns: int) -> Results:
        """Return results of which none is there."""
        there, drift = np.zeros((2, len(ROWS), columns), dtype=bool)
        score, critical, slack = np.zeros((3, len(ROWS), columns))
        n, counted = np.zeros((2, len(ROWS), columns), dtype=np.int64)
        return cls(there, drift, score, critical, slack, n, counted[_SHARES], np.full(columns, np.nan), np.zeros(columns, dtype=bool))

    def at(self, columns: Flags) -> Results:
        """Return a copy in which only some columns have results."""
        out = Results(*(getattr(self, field.name).copy() for field in fields(self)))
        out.there[:, ~columns] = False
        return out

    def take(self, other: Results, where: Flags) -> None:
        """Replace some results."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            np.copyto(mine, theirs, where=where[: len(mine)] if mine.ndim == 2 else where[DISTANCE])


class Description(NamedTuple):
    """What is said of results beside what decides; arrays of shape (5, columns).

    Args:
        critical: the score from which each check alarms.
        p_value: of the interval null "the effect is at most margin × T".
        p_unchanged: of "nothing changed".
        low: of the 95 % confidence interval of the score; `high`: likewise.
    """

    critical: Floats
    p_value: Floats
    p_unchanged: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Columns of one kind, their counts side by side: shape (columns of the kind, most bins of any), zeros where one has fewer.

    Args:
        columns: their places among all columns.
        slots: shape of the block, where in a table's vector each count lies; one past its end for what is not there.
        baseline: shape of the block.
        groups: shape (columns of the kind, most groups of any), where among the sums of groups each lies.
        order: the slots in order of groups; `starts`: where each group begins in it.
        grouped: the baseline's sums of groups, and `exists`: which there are.
    """

    columns: NDArray[np.intp]
    slots: NDArray[np.intp]
    baseline: Counts
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    groups: NDArray[np.intp]
    grouped: Counts
    exists: Flags

    def counts(self, padded: Counts) -> Counts:
        """Take the block's counts from a table's vector with a zero behind its end."""
        return padded[self.slots]

    def sums(self, padded: Counts) -> Counts:
        """Take the sums of groups."""
        return np.append(np.add.reduceat(padded[self.order], self.starts), 0)[self.groups]


class Reference:
    """What every judgement needs of a baseline, computed once: its columns by kind, as arrays.

    Args:
        columns: the baseline's watched columns.
        psi_bins: groups that PSI is taken over.
    """

    def __init__(self, columns: Sequence[ColumnBaseline], psi_bins: int) -> None:
        self.columns = tuple(columns)
        sizes = np.array([column.size for column in columns], dtype=np.intp)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        self._starts = starts
        # A column without a value in the baseline has nothing to compare distributions with.
        kinds = [column.kind if column.sketch.valid else "empty" for column in columns]
        self._numeric = _block(columns, starts, int(sizes.sum()), kinds, "numeric", psi_bins)
        self._levels = _block(columns, starts, int(sizes.sum()), kinds, "categorical", psi_bins)
        self._single = _pad([_single(columns[place]) for place in self._numeric.columns], self._numeric.slots.shape, fill=True)
        self._first, self._last = starts, starts + sizes - 1
        self.is_numeric = np.array([kind == "numeric" for kind in kinds])
        tests_outside = [kind != "empty" and column.tests_outside for kind, column in zip(kinds, columns, strict=True)]
        self._share_shapes = np.array([[True] * len(kinds), [True] * len(kinds), tests_outside])
        valid, nulls, invalid, rows = (
            np.array([getattr(column.sketch, name) for column in columns], dtype=np.int64) for name in ("valid", "nulls", "invalid", "rows")
        )
        self.valid = valid
        singletons = np.array([column.singletons for column in columns], dtype=np.int64)
        known = np.array([nulls, invalid, np.minimum(valid, np.where(self.is_numeric, OUTSIDE_OF_RANGE, singletons))])
        of = np.array([rows, rows - nulls, valid])
        self.m = np.concatenate([of, [valid, valid]])
        self._share_there = self._share_shapes & (of > 0)
        of = np.maximum(of, 1)
        self._limits = share_limits(np.minimum(known, of), of)
        self._expected = known / of
        # Nothing lies outside a numeric baseline's own range; what 2 of m allow for goes into the p-value alone.
        self._expected[2, self.is_numeric] = 0.0

    def measure(
        self, merged: Merged, thresholds: Floats, *, margin: float, level: float, min_rows: int, wanted: Sequence[bool] = (True,) * 5
    ) -> Results:
        """Run every check of every column.

        Args:
            merged: the windows, added up.
            thresholds: shape (5, columns).
            margin: the share of a threshold that a change must surely exceed.
            level: the false-alarm probability that each check may spend.
            min_rows: valid values that distribution checks need.
            wanted: which of the five checks; of the shares all are run when one is wanted.
        """
        valid = np.add.reduceat(merged.counts, self._starts)
        out = Results.empty(len(valid))
        out.enough[:] = valid >= min_rows
        if any(wanted[_SHARES]):
            self._shares(out, merged, valid, thresholds[_SHARES], margin, level)
        enough = out.enough & (valid > 0)
        if enough.any() and any(wanted[DISTANCE:]):
            padded = np.append(merged.counts, 0)
            if wanted[DISTANCE]:
                self._distances(out, padded, enough, thresholds[DISTANCE], margin, level)
            if wanted[PSI]:
                for block in (self._numeric, self._levels):
                    self._psi(out, block, padded, enough, thresholds[PSI], margin, level)
        return out

    def _shares(self, out: Results, merged: Merged, valid: Counts, threshold: Floats, margin: float, level: float) -> None:
        outside = merged.counts[self._last] + np.where(self.is_numeric, merged.counts[self._first], 0)
        n = np.array([valid + merged.nulls + merged.invalid, valid + merged.invalid, valid])
        there = self._share_there & (n > 0)
        there[OUTSIDE] &= out.enough
        n = np.maximum(n, 1)
        x = np.minimum([merged.nulls, merged.invalid, outside], n)
        change = x / n - self._expected
        score = np.where(_TWO_SIDED, np.abs(change), change)
        out.there[_SHARES], out.score[_SHARES], out.n[_SHARES], out.counted[:] = there, score, n, x
        large = there & (score >= threshold)
        if large.any():
            p_value = share_p_value(x, n, self._limits, null=margin * threshold, two_sided=_TWO_SIDED)
            out.drift[_SHARES] = large & (p_value <= level)

    def _distances(self, out: Results, padded: Counts, enough: Flags, threshold: Floats, margin: float, level: float) -> None:
        block, baseline, window, at = _chosen(self._numeric, self._numeric.baseline, self._numeric.counts(padded), enough)
        if len(at):
            n = window.sum(axis=-1)
            bracket = ks_distance(baseline, window, self._single[block])
            out.upper[at] = bracket.upper
            critical = ks_critical(n, self.valid[at], threshold=threshold[at], margin=margin, level=level)
            _set(out, DISTANCE, at, n, bracket.lower, critical, 0.0)
        _, baseline, window, at = _chosen(self._levels, self._levels.baseline, self._levels.counts(padded), enough)
        if len(at):
            critical = tv_critical(baseline, window, threshold=threshold[at], margin=margin, level=level)
            _set(out, DISTANCE, at, window.sum(axis=-1), tv_distance(baseline, window), critical, tv_bias(baseline, window))

    def _psi(self, out: Results, block: _Block, padded: Counts, enough: Flags, threshold: Floats, margin: float, level: float) -> None:
        if not len(block.columns):
            return
        chosen, baseline, window, at = _chosen(block, block.grouped, block.sums(padded), enough)
        if not len(at):
            return
        used = block.exists[chosen]
        if block is self._levels:
            used = used & ((baseline > 0) | (window > 0))
        value = psi(baseline, window, used)
        critical = psi_critical(value.error, threshold=threshold[at], margin=margin, level=level)
        _set(out, PSI, at, window.sum(axis=-1), value.corrected, critical, value.error)

    def describe(self, results: Results, thresholds: Floats, *, margin: float, level: float) -> Description:
        """Say what of results decides nothing: it costs more than what does, and is needed once a window."""
        n, x, shares = np.maximum(results.n[_SHARES], 1), results.counted, thresholds[_SHARES]
        critical, low, high = results.critical.copy(), results.score.copy(), results.score.copy()
        critical[_SHARES] = share_critical(
            n, self._limits, expected=self._expected, threshold=shares, margin=margin, level=level, two_sided=_TWO_SIDED
        )
        bottom, top = share_interval(x, n, level=_95)
        falls = x / n < self._expected
        low[_SHARES] = np.where(falls, self._expected - top, bottom - self._expected)
        high[_SHARES] = np.where(falls, self._expected - bottom, top - self._expected)
        spread = self._distance_margin(results, _95)
        low[DISTANCE] = np.maximum(0.0, low[DISTANCE] - spread)
        high[DISTANCE] = np.minimum(1.0, np.where(self.is_numeric, results.upper, high[DISTANCE]) + spread)
        low[PSI] -= _Z_95 * results.slack[PSI]
        high[PSI] += _Z_95 * results.slack[PSI]
        return Description(critical, self.p_values(results, margin * thresholds), self.p_values(results, 0.0 * thresholds), low, high)

    def p_values(self, results: Results, null: Floats) -> Floats:
        """Return the p-value of "the effect is at most `null`", for each check and column."""
        p_values = np.ones_like(null)
        n = np.maximum(results.n, 1)
        p_values[_SHARES] = share_p_value(results.counted, n[_SHARES], self._limits, null=null[_SHARES], two_sided=_TWO_SIDED)
        distance, m = results.score[DISTANCE] - results.slack[DISTANCE], np.maximum(self.valid, 1)
        tail = ks_p_value(distance, n[DISTANCE], m, null=null[DISTANCE])
        p_values[DISTANCE] = np.where(self.is_numeric, tail, tv_p_value(distance, n[DISTANCE], m, null=null[DISTANCE]))
        p_values[PSI] = psi_p_value(results.score[PSI], results.slack[PSI], null=null[PSI])
        return p_values

    def _distance_margin(self, results: Results, level: float) -> Floats:
        n, m = np.maximum(results.n[DISTANCE], 1), np.maximum(self.valid, 1)
        margin: Floats = np.where(self.is_numeric, ks_margin(n, m, level), results.slack[DISTANCE] + tv_margin(n, m, level))
        return margin


def thresholds_table(columns: Sequence[ColumnBaseline], parameters: Parameters) -> Floats:
    """Return the thresholds of each check and column, shape (5, columns)."""
    each = [parameters.thresholds_of(column) for column in columns]
    return np.array([[getattr(thresholds, name) for thresholds in each] for name in ROWS])


def _set(out: Results, row: int, at: NDArray[np.intp], n: Counts, score: Any, critical: Any, slack: Any) -> None:
    out.there[row, at], out.n[row, at], out.score[row, at], out.critical[row, at], out.slack[row, at] = True, n, score, critical, slack
    out.drift[row, at] = score >= critical


def _chosen(block: _Block, baseline: Counts, window: Counts, enough: Flags) -> tuple[Flags, Counts, Counts, NDArray[np.intp]]:
    """Leave out the columns that have too few values."""
    chosen = enough[block.columns]
    if chosen.all():
        return chosen, baseline, window, block.columns
    return chosen, baseline[chosen], window[chosen], block.columns[chosen]


def _single(column: ColumnBaseline) -> Flags:
    assert isinstance(column.bins, NumericBins)
    return column.bins.single_valued()


def _block(columns: Sequence[ColumnBaseline], starts: NDArray[np.intp], end: int, kinds: Sequence[str], kind: str, psi_bins: int) -> _Block:
    places = [place for place, found in enumerate(kinds) if found == kind]
    counts = [columns[place].sketch.counts for place in places]
    groups = [level_groups(c) if kind == "categorical" else numeric_groups(c, psi_bins) for c in counts]
    shape = (len(places), max(map(len, counts), default=0))
    slots = [np.arange(starts[place], starts[place] + columns[place].size) for place in places]
    begin = np.concatenate([[0], np.cumsum([len(c) for c in counts])]).astype(np.intp)
    sizes = [len(group.starts) for group in groups]
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
    shape_groups = (len(places), max(sizes, default=0))
    return _Block(
        np.array(places, dtype=np.intp), _pad(slots, shape, fill=end), _pad(counts, shape, fill=0),
        _joined([slots[i][group.order] for i, group in enumerate(groups)]),
        _joined([begin[i] + group.starts for i, group in enumerate(groups)]),
        _pad([np.arange(first[i], first[i + 1]) for i in range(len(places))], shape_groups, fill=int(first[-1])),
        _pad([group.sums(c) for group, c in zip(groups, counts, strict=True)], shape_groups, fill=0),
        _pad([np.ones(size, dtype=bool) for size in sizes], shape_groups, fill=False),
    )  # fmt: skip


def _joined(parts: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    return np.concatenate([np.empty(0, dtype=np.intp), *parts])


def _pad(rows: Sequence[NDArray[Any]], shape: tuple[int, ...], *, fill: Any) -> NDArray[Any]:
    out = np.full(shape, fill, dtype=rows[0].dtype if rows else np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return out
