"""Building a baseline from record batches in two passes, in memory that does not grow with the rows.

The first pass surveys the data (`surveying`). The second counts every row over the bins that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from driftsonde.core.columns import row_times
from driftsonde.core.counting import count_batch, count_chunk
from driftsonde.core.drift.backtest import MIN_WINDOWS, Raised, backtest
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.window import NO_TIME, starts
from driftsonde.core.readers.chunks import BatchChunk
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.surveying import MIN_ROWS, BuildOptions, Survey

__all__ = ["MIN_ROWS", "BuildOptions", "Counts", "Source", "build", "draft_of"]

Source = Callable[[], Iterable[pa.RecordBatch]]
"""Gives the same batches, in the same order, each time it is called."""


def build(source: Source, options: BuildOptions) -> tuple[FrozenBaseline, tuple[Raised, ...]]:
    """Build a baseline, and say which thresholds the back-test raised.

    Raises:
        ValueError: for fewer than 200 rows, columns that are not there, or a back-test of fewer than 30 windows.
    """
    survey = Survey(options)
    for batch in source():
        survey.add(batch)
    draft = draft_of(survey)
    counts = Counts(draft, options)
    for batch in source():
        counts.add(batch)
    return counts.freeze()


def draft_of(survey: Survey) -> FrozenBaseline:
    """Return the baseline's bins, in which nothing is counted yet.

    Raises:
        ValueError: as `build`.
    """
    survey.check()
    columns, untested = survey.columns()
    return FrozenBaseline(columns, survey.rows, untested)


class Counts:
    """The second pass, or a stretch of it.

    Args:
        draft: the bins.
        first: number of the first row that is counted.
    """

    def __init__(self, draft: FrozenBaseline, options: BuildOptions, first: int = 0) -> None:
        self._draft, self._options = draft, options
        self._windows = _Windows(options, draft.rows, first)
        self.sketch = draft.empty_sketch()

    @property
    def windows(self) -> dict[int, TableSketch]:
        """The back-test's windows."""
        return self._windows.sketches

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the next rows."""
        for key, rows in self._windows.split(batch):
            self._windows.add(key, count_batch(self._draft, rows))
        count_chunk(self._draft, BatchChunk(batch), self.sketch)

    def join(self, sketch: TableSketch, windows: Iterable[tuple[int, TableSketch]]) -> None:
        """Take what other rows gave."""
        self.sketch += sketch
        for key, window in windows:
            self._windows.add(key, window)

    def freeze(self) -> tuple[FrozenBaseline, tuple[Raised, ...]]:
        """Return the baseline, and which thresholds the back-test raised.

        Raises:
            ValueError: for a back-test of fewer than 30 windows.
        """
        draft = self._draft
        final = tuple(_filled(column, self.sketch.column(column.name), draft.rows) for column in draft.columns)
        raised = tuple[Raised, ...]()
        if self._options.backtest is not None:
            final, raised = backtest(final, [self.windows[key] for key in sorted(self.windows)], self._options.parameters)
        calibrated = len(self.windows) if self._options.backtest is not None else 0
        return FrozenBaseline(final, draft.rows, draft.untested, calibrated, self.sketch.sample.repeated), raised


def _filled(column: ColumnBaseline, sketch: ColumnSketch, rows: int) -> ColumnBaseline:
    """Count rows of batches that lacked the column as nulls, as a window's are."""
    return replace(column, sketch=ColumnSketch(sketch.counts, sketch.nulls + rows - sketch.rows, sketch.invalid))


class _Windows:
    """The baseline's own windows, for the back-test."""

    def __init__(self, options: BuildOptions, rows: int, first: int) -> None:
        self._by = options.backtest
        self._rows = rows
        if isinstance(self._by, int) and self._by < MIN_WINDOWS:
            raise ValueError(f"a back-test needs at least {MIN_WINDOWS} windows, not {self._by}")
        if isinstance(self._by, int) and self._by > rows:
            raise ValueError(f"a back-test of {self._by} windows needs as many rows, the baseline has {rows}")
        self._seen = first
        self.sketches: dict[int, TableSketch] = {}

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
        self.sketches[key] = self.sketches[key] + sketch if key in self.sketches else sketch
