"""Building a baseline from record batches in two passes, in memory that does not grow with the rows.

The first pass surveys the data: ranges, few distinct values or not, a sample of rows for the edges, the levels. The second
counts every row over the bins that follow. The sample is chosen by a hash of the row's number, so that the same data gives
the same digest however it is cut into batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftsonde.core.columns import ColumnType, column_type, level_counts, looks_like_times, numbers, row_times
from driftsonde.core.counting import count_batch, count_chunk, unique
from driftsonde.core.drift.backtest import MIN_WINDOWS, Raised, backtest
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.window import NO_TIME, starts
from driftsonde.core.readers.chunks import BatchChunk
from driftsonde.core.sketch.categorical import MAX_SEEN, fit_levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Floats
from driftsonde.core.sketch.numeric import fit_numeric
from driftsonde.core.sketch.table import TableSketch

Source = Callable[[], Iterable[pa.RecordBatch]]
"""Gives the same batches, in the same order, each time it is called."""

MIN_ROWS = 200
_SAMPLE_ROWS = 300_000
_SAMPLE_BYTES = 256 * 1024 * 1024
_MAX_UNSEEN_SHARE = 0.05
_MAX_NAME = 256  # characters; an event has room for twenty such columns
_TOP = (1 << 64) - 1
_RUNNING_FROM = 1_000  # fewer rows in order may be so by chance or by being sorted
_PANDAS_INDEX = re.compile(r"^__index_level_\d+__$")


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


def build(source: Source, options: BuildOptions) -> tuple[FrozenBaseline, tuple[Raised, ...]]:
    """Build a baseline, and say which thresholds the back-test raised.

    Raises:
        ValueError: for fewer than 200 rows, columns that are not there, or a back-test of fewer than 30 windows.
    """
    survey = _Survey(options)
    for batch in source():
        survey.add(batch)
    survey.check()
    columns, untested = survey.columns()
    windows = _Windows(options, survey.rows)
    draft = FrozenBaseline(columns, survey.rows, untested)
    counted = draft.empty_sketch()
    for batch in source():
        for key, rows in windows.split(batch):
            windows.add(key, count_batch(draft, rows))
        count_chunk(draft, BatchChunk(batch), counted)
    final, raised = tuple(_filled(column, counted.column(column.name), survey.rows) for column in columns), tuple[Raised, ...]()
    if options.backtest is not None:
        final, raised = backtest(final, windows.sketches(), options.parameters)
    calibrated = len(windows) if options.backtest is not None else 0
    return FrozenBaseline(final, survey.rows, untested, calibrated, counted.sample.repeated), raised


def _filled(column: ColumnBaseline, sketch: ColumnSketch, rows: int) -> ColumnBaseline:
    """Count rows of batches that lacked the column as nulls, as a window's are."""
    return replace(column, sketch=ColumnSketch(sketch.counts, sketch.nulls + rows - sketch.rows, sketch.invalid))


class _Windows:
    """The baseline's own windows, for the back-test."""

    def __init__(self, options: BuildOptions, rows: int) -> None:
        self._by = options.backtest
        self._rows = rows
        if isinstance(self._by, int) and self._by < MIN_WINDOWS:
            raise ValueError(f"a back-test needs at least {MIN_WINDOWS} windows, not {self._by}")
        if isinstance(self._by, int) and self._by > rows:
            raise ValueError(f"a back-test of {self._by} windows needs as many rows, the baseline has {rows}")
        self._seen = 0
        self._sketches: dict[int, TableSketch] = {}

    def __len__(self) -> int:
        return len(self._sketches)

    def split(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        if self._by is None:
            return
        if isinstance(self._by, int):
            index = (self._seen + np.arange(batch.num_rows)) * self._by // self._rows
            self._seen += batch.num_rows
        else:
            column, length = self._by
            if column not in batch.schema.names:
                raise ValueError(f"back-test: there is no column {column!r}; columns are {', '.join(batch.schema.names)}")
            index = starts(row_times(batch.column(column)), length)
        for key in np.unique(index[index != NO_TIME]):
            yield int(key), batch.filter(pa.array(index == key))

    def add(self, key: int, sketch: TableSketch) -> None:
        self._sketches[key] = self._sketches[key] + sketch if key in self._sketches else sketch

    def sketches(self) -> list[TableSketch]:
        return [self._sketches[key] for key in sorted(self._sketches)]


class _Survey:
    """The first pass."""

    def __init__(self, options: BuildOptions) -> None:
        self._options = options
        self.rows = 0
        self._columns: dict[str, _ColumnSurvey] = {}
        self._names: dict[str, None] = {}
        self._limit = np.uint64(_TOP)

    def add(self, batch: pa.RecordBatch) -> None:
        priority = _mix(np.arange(self.rows, self.rows + batch.num_rows, dtype=np.uint64))
        for name in unique(batch.schema.names):
            self._names[name] = None
            if self._options.watches(name):
                survey = self._columns.setdefault(name, _ColumnSurvey(name, self._options))
                survey.add(batch.column(name), priority, self._limit)
        self.rows += batch.num_rows
        self._shrink()

    def _shrink(self, slack: int = 2) -> None:
        """Lower the limit of the sample when it holds `slack` times what it may.

        The limit after the last row (slack 1) is a function of the number of rows alone, and no earlier one is lower.
        """
        numeric = [survey for survey in self._columns.values() if survey.type == "numeric"]
        allowed = max(20_000, min(_SAMPLE_ROWS, _SAMPLE_BYTES // (32 * max(len(numeric), 1))))
        if self.rows * (int(self._limit) / _TOP) > slack * allowed:
            self._limit = np.uint64(_TOP * allowed // self.rows)
            for survey in numeric:
                survey.shrink(self._limit)

    def check(self) -> None:
        wanted = (*self._options.only, *self._options.categorical)
        missing = [name for name in wanted if name not in self._columns and name not in self._options.ignore]
        if missing and self.rows:
            raise ValueError(f"there is no column {missing[0]!r}; columns are {', '.join(sorted(self._names))}")
        if self.rows < MIN_ROWS:
            raise ValueError(f"a baseline needs at least {MIN_ROWS} rows, this has {self.rows}; 1,000 or more are recommended")

    def columns(self) -> tuple[tuple[ColumnBaseline, ...], dict[str, str]]:
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

    def __init__(self, name: str, options: BuildOptions) -> None:
        self.name = name
        self.type: ColumnType = "empty"
        self._options = options
        self._declared = name in options.categorical
        self._levels: dict[str, int] = {}
        self._too_many = False
        self._minimum, self._maximum = np.inf, -np.inf
        self._distinct: Floats | None = np.empty(0)
        self._sample: list[tuple[NDArray[np.uint64], Floats]] = []
        self._counts_up, self._counted, self._last = True, 0, -np.inf

    def add(self, array: pa.Array, priority: NDArray[np.uint64], limit: np.uint64) -> None:
        if self.type == "empty":
            found = column_type(array.type)
            # An all-null batch has no type of its own, whatever the writer called it.
            self.type = "empty" if array.null_count == len(array) else "categorical" if self._declared else found
            if self.type == "categorical" and not self._declared and looks_like_times(array):
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
            self._last = float(values[-1])
            self._counted += len(values)

    def _add_levels(self, array: pa.Array) -> None:
        for level, count in level_counts(array).weights:
            if level in self._levels or len(self._levels) < MAX_SEEN:
                self._levels[level] = self._levels.get(level, 0) + count
            else:
                self._too_many = True

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
        if self.type != "categorical" or self._declared:
            return None
        if self._too_many:
            return f"an identifier: more than {MAX_SEEN:,} levels; declare it categorical to watch it"
        total, single = sum(self._levels.values()), self._singletons()
        if len(self._levels) > self._options.max_categories and single / total > _MAX_UNSEEN_SHARE:
            return f"an identifier: {single / total:.0%} of its values occur once; declare it categorical to watch it"
        return None

    def _singletons(self) -> int:
        return sum(count == 1 for count in self._levels.values())

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
            levels = fit_levels(self._levels, max_categories=self._options.max_categories, complete=not self._too_many)
            return ColumnBaseline(self.name, "categorical", levels, ColumnSketch(np.zeros(levels.size, dtype=np.int64)), self._singletons())
        return ColumnBaseline(self.name, "empty", None, ColumnSketch(np.zeros(1, dtype=np.int64)))


def _mix(index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea & Flood 2014): a uniform hash of the row number."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
