"""The first pass over a baseline's data: ranges, few distinct values or not, a sample of rows for the edges, the levels.

The sample is chosen by a hash of the row's number, so that the same data gives the same digest however it is cut into batches.
Stretches of the rows can be surveyed apart from one another and joined: what then follows is what one survey of them all gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftsonde.core.columns import ColumnType, column_type, level_counts, looks_like_times, numbers
from driftsonde.core.counting import unique
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.sketch.categorical import MAX_SEEN, fit_levels
from driftsonde.core.sketch.codec import Reader, SketchError, Writer
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Floats
from driftsonde.core.sketch.numeric import fit_numeric

MIN_ROWS = 200
_SAMPLE_ROWS = 300_000
_SAMPLE_BYTES = 256 * 1024 * 1024
_MAX_UNSEEN_SHARE = 0.05
_MAX_NAME = 256  # characters; an event has room for twenty such columns
_TOP = (1 << 64) - 1
_RUNNING_FROM = 1_000  # fewer rows in order may be so by chance or by being sorted
_PANDAS_INDEX = re.compile(r"^__index_level_\d+__$")
_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)
_COUNTED = ("numeric", "categorical")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a baseline is built.

    Args:
        bins: equal masses that a numeric column is cut into.
        max_categories: levels that are tracked one by one.
        only: columns to watch; empty means all.
        ignore: columns not to watch.
        categorical: numbers that are names.
        backtest: windows to calibrate thresholds on: how many, by rows in order, or (time column, length).
        parameters: the policy that the back-test follows.
    """

    bins: int = 256
    max_categories: int = 30
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    backtest: int | tuple[str, timedelta] | None = None
    parameters: Parameters = field(default_factory=Parameters)

    def watches(self, name: str) -> bool:
        """Whether a column is wanted at all."""
        return name not in self.ignore and (not self.only or name in self.only)


@dataclass(frozen=True)
class Stretch:
    """Which of the rows a survey sees, and what is known beforehand.

    Args:
        first: number of its first row.
        total: rows of all stretches together; None: the survey sees them all.
        types: what columns are that have a value before the stretch, by name.
        levels: the levels that are remembered of columns that have more than can be, by name.
    """

    first: int = 0
    total: int | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Survey:
    """The first pass, or a stretch of it."""

    def __init__(self, options: BuildOptions, stretch: Stretch | None = None) -> None:
        self._options, self._stretch = options, stretch or Stretch()
        self.rows = 0
        self._columns: dict[str, _ColumnSurvey] = {}
        self._names: dict[str, None] = {}
        self._limit = np.uint64(_TOP)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows.

        Raises:
            ValueError: if two columns have the same name.
        """
        first = self._stretch.first + self.rows
        priority = _mix(np.arange(first, first + batch.num_rows, dtype=np.uint64))
        for name in unique(batch.schema.names):
            self._names[name] = None
            if self._options.watches(name):
                survey = self._columns.setdefault(name, _ColumnSurvey(name, self._options, self._stretch))
                survey.add(batch.column(name), priority, self._limit)
        self.rows += batch.num_rows
        self._shrink()

    def _shrink(self, slack: int = 2) -> None:
        """Lower the limit of the sample when it holds `slack` times what it may.

        The limit after the last row (slack 1) is a function of the number of rows and of numeric columns alone, and no earlier one is
        lower. A stretch knows how many rows there will be, and keeps no more of its own than their share.
        """
        numeric = [survey for survey in self._columns.values() if survey.type == "numeric"]
        allowed, rows = _allowed(len(numeric)), self._stretch.total or self.rows
        if rows * (int(self._limit) / _TOP) > slack * allowed:
            self._limit = np.uint64(_TOP * allowed // rows)
            for survey in numeric:
                survey.shrink(self._limit)

    def join(self, later: Survey) -> None:
        """Take the rows that another survey saw, which follow those of this one; `settled` gives surveys that can be joined."""
        self._names |= later._names
        for name, theirs in later._columns.items():
            if name in self._columns:
                self._columns[name].join(theirs)
            else:
                self._columns[name] = theirs
        self.rows += later.rows

    @property
    def types(self) -> dict[str, ColumnType]:
        """What the columns are that have had a value, by name."""
        return {name: survey.type for name, survey in self._columns.items() if survey.type != "empty"}

    def misses(self, types: Mapping[str, ColumnType]) -> bool:
        """Whether, columns being of these types, something was not taken that one survey of all rows would have taken."""
        numeric, rows = sum(kind == "numeric" for kind in types.values()), self._stretch.total or self.rows
        lowest = _TOP * _allowed(numeric) // max(rows, 1)
        return int(self._limit) < min(lowest, _TOP) or any(
            types[name] in _COUNTED and types[name] != kind for name, kind in self.types.items()
        )

    @property
    def crowded(self) -> dict[str, list[str]]:
        """The first levels of columns that have more than are remembered but were declared categorical, by name."""
        return {name: list(survey.levels) for name, survey in self._columns.items() if survey.declared and survey.too_many}

    def levels(self, name: str) -> list[str]:
        """Return the levels of a column in the order in which they were seen first."""
        return list(self._columns[name].levels) if name in self._columns else []

    def encode(self) -> bytes:
        """Return what was found as bytes."""
        out = Writer()
        out.text("survey")
        out.integer(self.rows)
        out.hashes(np.array([self._limit], dtype=np.uint64))
        out.texts(list(self._names))
        out.texts(list(self._columns))
        for survey in self._columns.values():
            survey.write(out)
        return out.finish()

    @classmethod
    def decode(cls, data: bytes, options: BuildOptions, stretch: Stretch) -> Survey:
        """Read back `encode`.

        Raises:
            SketchError: if the bytes are anything else.
        """
        source, found = Reader(data), cls(options, stretch)
        if source.text() != "survey":
            raise SketchError("not a survey")
        found.rows, limit = source.integer(), source.hashes()
        found._limit, found._names = np.uint64(limit[0]), dict.fromkeys(source.texts())
        for name in source.texts():
            found._columns[name] = _ColumnSurvey(name, options, stretch)
            found._columns[name].read(source)
        source.finish()
        return found

    def check(self) -> None:
        """Raise ValueError where there is too little data, or a column that was named is not there."""
        wanted = (*self._options.only, *self._options.categorical)
        missing = [name for name in wanted if name not in self._columns and name not in self._options.ignore]
        if missing and self.rows:
            raise ValueError(f"there is no column {missing[0]!r}; columns are {', '.join(sorted(self._names))}")
        if self.rows < MIN_ROWS:
            raise ValueError(f"a baseline needs at least {MIN_ROWS} rows, this has {self.rows}; 1,000 or more are recommended")

    def columns(self) -> tuple[tuple[ColumnBaseline, ...], dict[str, str]]:
        """Return what is watched, with bins that hold nothing yet, and what is not, with the reason.

        Raises:
            ValueError: if no column can be watched.
        """
        self._shrink(slack=1)
        watched, untested = [], dict.fromkeys(self._options.ignore, "ignored by configuration")
        untested |= {name: "not among the chosen columns" for name in self._names if name not in self._columns and name not in untested}
        for name, survey in self._columns.items():
            reason = survey.untestable()
            if reason:
                untested[name] = reason
            else:
                watched.append(survey.freeze())
        if not watched:
            raise ValueError("no column can be watched: " + "; ".join(f"{name}: {why}" for name, why in untested.items()))
        return tuple(watched), untested


class _ColumnSurvey:
    """What the first pass learns of one column."""

    def __init__(self, name: str, options: BuildOptions, stretch: Stretch) -> None:
        self.name = name
        self.type: ColumnType = stretch.types.get(name, "empty")
        self._options = options
        self.declared = name in options.categorical
        self.levels: dict[str, int] = dict.fromkeys(stretch.levels.get(name, ()), 0)
        self.too_many = False
        self._minimum, self._maximum = np.inf, -np.inf
        self._distinct: Floats | None = np.empty(0)
        self._sample: list[tuple[NDArray[np.uint64], Floats]] = []
        self._counts_up, self._counted, self._first, self._last = True, 0, np.inf, -np.inf

    def add(self, array: pa.Array, priority: NDArray[np.uint64], limit: np.uint64) -> None:
        if self.type == "empty":
            found = column_type(array.type)
            # An all-null batch has no type of its own, whatever the writer called it.
            self.type = "empty" if array.null_count == len(array) else "categorical" if self.declared else found
            if self.type == "categorical" and not self.declared and looks_like_times(array):
                self.type = "time"  # CSV has no type for it
        if self.type == "numeric":
            self._add_numbers(array, priority, limit)
        elif self.type == "categorical":
            self._add_levels(array)

    def _add_numbers(self, array: pa.Array, priority: NDArray[np.uint64], limit: np.uint64) -> None:
        values = numbers(array).values
        if not len(values):
            return
        self._note_counting(values)
        self._minimum, self._maximum = min(self._minimum, values.min()), max(self._maximum, values.max())
        if self._distinct is not None:
            distinct = np.unique(np.concatenate([self._distinct, np.unique(values)]))
            self._distinct = distinct if len(distinct) <= self._options.bins else None
        if column_type(array.type) != "numeric":
            return  # text among numbers widens the range, but edges are taken from the numbers
        aligned = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        chosen = np.isfinite(aligned) & (priority <= limit)
        self._sample.append((priority[chosen], aligned[chosen]))

    def _note_counting(self, values: Floats) -> None:
        """Find out whether the column is a running number: whole, and greater in every row than in the one before."""
        if self._counts_up:
            ordered = np.concatenate([[self._last], values])
            self._counts_up = bool(np.all(np.diff(ordered) > 0) and np.all(values == np.floor(values)))
            self._first = float(values[0]) if not self._counted else self._first
            self._last = float(values[-1])
            self._counted += len(values)

    def _add_levels(self, array: pa.Array) -> None:
        self._note_levels(level_counts(array).weights)

    def _note_levels(self, weights: Iterable[tuple[str, int]]) -> None:
        for level, count in weights:
            if level in self.levels or len(self.levels) < MAX_SEEN:
                self.levels[level] = self.levels.get(level, 0) + count
            else:
                self.too_many = True

    def join(self, later: _ColumnSurvey) -> None:
        """Take what the rows that follow gave."""
        if self.type == "empty":
            self.type = later.type
        if self.type == "numeric":
            self._join_counting(later)
            self._minimum, self._maximum = min(self._minimum, later._minimum), max(self._maximum, later._maximum)
            both = (
                None if self._distinct is None or later._distinct is None else np.unique(np.concatenate([self._distinct, later._distinct]))
            )
            self._distinct = both if both is not None and len(both) <= self._options.bins else None
            self._sample += later._sample
        elif self.type == "categorical":
            self._note_levels(later.levels.items())
            self.too_many |= later.too_many

    def _join_counting(self, later: _ColumnSurvey) -> None:
        if later._counted:
            follows = not self._counted or later._first - self._last > 0
            self._counts_up = self._counts_up and later._counts_up and follows
            self._first = self._first if self._counted else later._first
            self._last = later._last
            self._counted += later._counted

    def write(self, out: Writer) -> None:
        """Append what was found."""
        out.integer(_TYPES.index(self.type))
        out.texts(list(self.levels))
        out.counts(np.array(list(self.levels.values()), dtype=np.int64))
        for flag in (self.too_many, self._counts_up, self._distinct is not None):
            out.integer(int(flag))
        out.integer(self._counted)
        out.floats(np.array([self._minimum, self._maximum, self._first, self._last]))
        out.floats(np.empty(0) if self._distinct is None else self._distinct)
        out.hashes(np.concatenate([np.empty(0, dtype=np.uint64), *(priority for priority, _ in self._sample)]))
        out.floats(np.concatenate([np.empty(0), *(values for _, values in self._sample)]))

    def read(self, source: Reader) -> None:
        """Read back `write`."""
        self.type = _TYPES[source.integer()]
        names = source.texts()
        self.levels = dict(zip(names, source.counts().tolist(), strict=True))
        self.too_many, self._counts_up, few = (bool(source.integer()) for _ in range(3))
        self._counted = source.integer()
        self._minimum, self._maximum, self._first, self._last = source.floats().tolist()
        distinct = source.floats()
        self._distinct = distinct if few else None
        self._sample = [(source.hashes(), source.floats())]

    def shrink(self, limit: np.uint64) -> None:
        self._sample = [(priority[priority <= limit], values[priority <= limit]) for priority, values in self._sample]

    def untestable(self) -> str | None:
        if len(self.name) > _MAX_NAME:
            return f"its name is longer than {_MAX_NAME} characters"
        if _PANDAS_INDEX.match(self.name) and self.name not in self._options.only:
            return "the index of a pandas frame; not tested"
        if self.type == "time":
            return "a time; not tested"
        if self.type == "nested":
            return "a nested or binary value; not tested"
        if self.type == "numeric" and self._counts_up and self._counted >= _RUNNING_FROM:
            return "a running number; every window would lie beyond its range"
        if self.type != "categorical" or self.declared:
            return None
        if self.too_many:
            return f"an identifier: more than {MAX_SEEN:,} levels; declare it categorical to watch it"
        total, single = sum(self.levels.values()), self._singletons()
        if len(self.levels) > self._options.max_categories and single / total > _MAX_UNSEEN_SHARE:
            return f"an identifier: {single / total:.0%} of its values occur once; declare it categorical to watch it"
        return None

    def _singletons(self) -> int:
        return sum(count == 1 for count in self.levels.values())

    def freeze(self) -> ColumnBaseline:
        """Choose the bins; counts start at zero."""
        if self.type == "numeric" and np.isfinite(self._minimum):
            sample = np.concatenate([np.empty(0), *(values for _, values in self._sample)])
            if not len(sample):  # every number came as text, or none of so few was drawn
                sample = np.array([self._minimum, self._maximum])
            bins = fit_numeric(
                sample, minimum=float(self._minimum), maximum=float(self._maximum), distinct=self._distinct, bins=self._options.bins
            )
            return ColumnBaseline(self.name, "numeric", bins, ColumnSketch(np.zeros(bins.size, dtype=np.int64)))
        if self.type == "categorical":
            levels = fit_levels(self.levels, max_categories=self._options.max_categories, complete=not self.too_many)
            return ColumnBaseline(self.name, "categorical", levels, ColumnSketch(np.zeros(levels.size, dtype=np.int64)), self._singletons())
        return ColumnBaseline(self.name, "empty", None, ColumnSketch(np.zeros(1, dtype=np.int64)))


def settled_types(surveys: Iterable[Survey]) -> dict[str, ColumnType]:
    """Return what each column is: what its first value says."""
    found: dict[str, ColumnType] = {}
    for survey in surveys:
        found = survey.types | found
    return found


def settled_levels(surveys: Sequence[Survey]) -> dict[str, list[str]]:
    """Return, of declared columns that some survey found more levels of than are remembered, those that are: the first ones."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for survey in surveys for name in survey.crowded):
        found[name] = list(dict.fromkeys(level for survey in surveys for level in survey.levels(name)))[:MAX_SEEN]
    return found


def _allowed(numeric: int) -> int:
    """Return how many rows the sample may have."""
    return max(20_000, min(_SAMPLE_ROWS, _SAMPLE_BYTES // (32 * max(numeric, 1))))


def _mix(index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea & Flood 2014): a uniform hash of the row number."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
