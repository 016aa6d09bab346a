"""From an object's bytes to its counts: what one drop adds to a window. Runs in a worker thread; knows no queue and no state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftsonde.core.building import count_batch
from driftsonde.core.columns import row_times
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.readers import Format, Limits, Source, TableReader, open_table
from driftsonde.core.sketch.table import TableSketch


def open_watched(
    baseline: FrozenBaseline, source: Source, *, extra: frozenset[str] = frozenset(), form: Format = "auto", limits: Limits | None = None
) -> TableReader:
    """Open an object for reading only the columns that a baseline watches, and `extra`."""
    texts = [column.name for column in baseline.columns if column.kind == "categorical"]
    known = baseline.by_name
    return open_table(source, wanted=lambda name: name in known or name in extra, text=texts, form=form, limits=limits)


def count_object(baseline: FrozenBaseline, source: Source, *, form: Format = "auto", limits: Limits | None = None) -> TableSketch:
    """Count a whole object over a baseline's bins.

    Raises:
        UnreadableObject, GoneError, RetryableError: as the reader and its source.
    """
    reader = open_watched(baseline, source, form=form, limits=limits)
    sketch = baseline.empty_sketch()
    for batch in reader.batches():
        sketch += count_batch(baseline, batch)
    return _finish(baseline, sketch, reader)


def count_by_time(
    baseline: FrozenBaseline, source: Source, column: str, split: Callable[[NDArray[np.int64]], NDArray[np.int64]], *,
    form: Format = "auto", limits: Limits | None = None,
) -> tuple[dict[int, TableSketch], int, int]:  # fmt: skip
    """Count an object's rows into time windows.

    Args:
        column: the time column.
        split: from times of shape (n,), in microseconds, to window starts; a negative start marks a time that cannot be used.

    Returns:
        The sketch of each window by its start, the latest time that was used (or -1), and how many rows had no usable time.
    """
    reader = open_watched(baseline, source, extra=frozenset({column}), form=form, limits=limits)
    windows: dict[int, TableSketch] = {}
    latest, invalid = -1, 0
    for batch in reader.batches():
        if column not in batch.schema.names:
            invalid += batch.num_rows
            continue
        times = row_times(batch.column(column))
        index = split(times)
        used = index >= 0
        invalid += int(len(index) - used.sum())
        latest = max(latest, int(times[used].max(initial=-1)))
        for start in np.unique(index[used]).tolist():
            counted = count_batch(baseline, batch.filter(pa.array(index == start)))
            windows[start] = windows[start] + counted if start in windows else counted
    if windows:
        last = max(windows)
        windows[last] = _finish(baseline, windows[last], reader)
    elif reader.bad_rows and not invalid:
        raise UnreadableObject(f"{source.name}: none of its {reader.bad_rows} rows can be parsed", reason="bad_rows")
    return windows, latest, invalid


def _finish(baseline: FrozenBaseline, sketch: TableSketch, reader: TableReader) -> TableSketch:
    """Add what only the reader knows: bad rows, and columns that were not even read."""
    sketch.bad_rows += reader.bad_rows
    known = baseline.by_name
    sketch.new |= frozenset(name for name in reader.names if name not in known and name not in baseline.untested)
    return sketch
