"""From an object's bytes to its counts: what one drop adds to a window. Runs in a worker thread; knows no queue and no state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftsonde.core.columns import count_column, row_times
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.readers import Format, Limits, Source, TableReader, open_table
from driftsonde.core.readers.ahead import ahead
from driftsonde.core.readers.chunks import BatchChunk, Chunk
from driftsonde.core.rowhash import RowHasher
from driftsonde.core.sketch.codec import SketchError, decode_table, encode_table
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.table import TableSketch

T = TypeVar("T")

_AHEAD_FROM = 250_000  # rows; a thread is started for each such chunk


class Checkpoint(Protocol):
    """Keeps how far an object was counted, so that another process can go on from there."""

    def load(self) -> tuple[int, bytes] | None:
        """Return row groups that are counted, and what they gave."""
        ...

    def reached(self, groups: int, counted: Callable[[], bytes]) -> None:
        """Take note, now and then, of what `counted` gives."""
        ...


class NoCheckpoint:
    """Keeps nothing."""

    def load(self) -> None:
        """Return nothing."""

    def reached(self, groups: int, counted: Callable[[], bytes]) -> None:
        """Do nothing."""


def open_watched(
    baseline: FrozenBaseline, source: Source, *, extra: frozenset[str] = frozenset(), form: Format = "auto", limits: Limits | None = None
) -> TableReader:
    """Open an object for reading only the columns that a baseline watches, and `extra`."""
    texts, numbers = ([column.name for column in baseline.columns if column.kind == kind] for kind in ("categorical", "numeric"))
    known = baseline.by_name
    return open_table(source, wanted=lambda name: name in known or name in extra, text=texts, numbers=numbers, form=form, limits=limits)


def count_object(
    baseline: FrozenBaseline, source: Source, *, form: Format = "auto", limits: Limits | None = None, checkpoint: Checkpoint | None = None
) -> TableSketch:
    """Count a whole object over a baseline's bins, or what a checkpoint does not hold of it.

    Raises:
        UnreadableObject, GoneError, RetryableError: as the reader and its source.
    """
    limits = limits or Limits()
    reader = open_watched(baseline, source, form=form, limits=limits)
    checkpoint = checkpoint or NoCheckpoint()
    begin, sketch = _resumed(checkpoint, lambda data: decode_table(data, baseline.layout), baseline.empty_sketch())
    for chunk in limits.in_time(reader.chunks(begin), source.name, source.size):
        if reader.done > begin:
            checkpoint.reached(reader.done, partial(encode_table, sketch))
        count_chunk(baseline, chunk, sketch)
    return _finish(baseline, sketch, reader)


def count_batch(baseline: FrozenBaseline, batch: pa.RecordBatch) -> TableSketch:
    """Count a batch over a baseline's bins.

    Raises:
        ValueError: if two columns have the same name.
    """
    sketch = baseline.empty_sketch()
    count_chunk(baseline, BatchChunk(batch), sketch)
    return sketch


def count_chunk(baseline: FrozenBaseline, chunk: Chunk, sketch: TableSketch) -> None:
    """Add a chunk's rows to a sketch.

    Raises:
        ValueError: if two columns have the same name.
        UnreadableObject: as the reader.
    """
    known, keys = baseline.by_name, set(baseline.key_columns)
    sketch.rows += chunk.rows
    names = [name for name in unique(chunk.names) if name in known]
    hasher = RowHasher(chunk.rows)
    for name, begin, piece in _pieces(chunk, [name for name in names if name in keys]):
        counted = count_column(known[name], piece)
        sketch.add(name, counted)
        hasher.add_key(known[name], begin, piece, counted)
    hasher.choose({0: sketch.sample.exponent})
    for name, begin, piece in _pieces(chunk, [name for name in names if name not in keys]):
        counted = count_column(known[name], piece)
        sketch.add(name, counted)
        hasher.add(known[name], begin, piece, counted)
    for _, sample in hasher.samples():
        sketch.add_rows(sample)
    sketch.new |= frozenset(name for name in chunk.names if name not in known and name not in baseline.untested)


def _pieces(chunk: Chunk, names: Sequence[str]) -> Iterator[tuple[str, int, pa.Array]]:
    """Yield the pieces of some columns, each with its first row's number."""

    def decoded() -> Iterator[tuple[str, int, pa.Array]]:
        for name in names:
            begin = 0
            for piece in chunk.pieces(name):
                yield name, begin, piece
                begin += len(piece)

    return ahead(decoded()) if chunk.rows >= _AHEAD_FROM else decoded()


def unique(names: Sequence[str]) -> Sequence[str]:
    """Return column names as they are.

    Raises:
        ValueError: if one is there twice.
    """
    if len(set(names)) != len(names):
        raise ValueError(f"the column {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return names


def count_by_time(
    baseline: FrozenBaseline, source: Source, column: str, split: Callable[[NDArray[np.int64]], NDArray[np.int64]], *,
    form: Format = "auto", limits: Limits | None = None, checkpoint: Checkpoint | None = None,
) -> tuple[dict[int, TableSketch], int, int]:  # fmt: skip
    """Count an object's rows into time windows, or what a checkpoint does not hold of them.

    Args:
        column: the time column.
        split: from times of shape (n,), in microseconds, to window starts; a negative start marks a time that cannot be used.

    Returns:
        The sketch of each window by its start, the latest time that was used (or -1), and how many rows had no usable time.
    """
    limits = limits or Limits()
    reader = open_watched(baseline, source, extra=frozenset({column}), form=form, limits=limits)
    checkpoint = checkpoint or NoCheckpoint()
    nothing: tuple[dict[int, TableSketch], int, int] = ({}, -1, 0)
    begin, (windows, latest, invalid) = _resumed(checkpoint, partial(_unpacked, baseline), nothing)
    split(np.array(sorted(windows), dtype=np.int64))  # the windows that were begun count among those that it admits
    for chunk in limits.in_time(reader.chunks(begin), source.name, source.size):
        if reader.done > begin:
            checkpoint.reached(reader.done, partial(_packed, windows, latest, invalid))
        if column not in chunk.names:
            invalid += chunk.rows
            continue
        times = np.concatenate([np.empty(0, dtype=np.int64), *map(row_times, chunk.pieces(column))])
        index = split(times)
        used = index >= 0
        invalid += int(len(index) - used.sum())
        latest = max(latest, int(times[used].max(initial=-1)))
        _count_windows(baseline, chunk, index, windows)
    if windows:
        last = max(windows)
        windows[last] = _finish(baseline, windows[last], reader)
    elif reader.bad_rows and not invalid:
        raise UnreadableObject(f"{source.name}: none of its {reader.bad_rows} rows can be parsed", reason="bad_rows")
    return windows, latest, invalid


def _resumed(checkpoint: Checkpoint, decode: Callable[[bytes], T], nothing: T) -> tuple[int, T]:
    """Return how many row groups are counted, and what they gave."""
    found = checkpoint.load()
    if found is None:
        return 0, nothing
    try:
        return found[0], decode(found[1])
    except (SketchError, ValueError, KeyError):  # another version stored it
        return 0, nothing


def _packed(windows: Mapping[int, TableSketch], latest: int, invalid: int) -> bytes:
    encoded = {start: encode_table(sketch) for start, sketch in windows.items()}
    head = {"latest": latest, "invalid": invalid, "sizes": [[start, len(data)] for start, data in encoded.items()]}
    return json.dumps(head).encode() + b"\n" + b"".join(encoded.values())


def _unpacked(baseline: FrozenBaseline, data: bytes) -> tuple[dict[int, TableSketch], int, int]:
    line, _, rest = data.partition(b"\n")
    head, windows, begin = json.loads(line), {}, 0
    for start, size in head["sizes"]:
        windows[start] = decode_table(rest[begin : begin + size], baseline.layout)
        begin += size
    return windows, head["latest"], head["invalid"]


def _count_windows(baseline: FrozenBaseline, chunk: Chunk, index: NDArray[np.int64], windows: dict[int, TableSketch]) -> None:
    """Add a chunk's rows to the window that each belongs to."""
    known, keys = baseline.by_name, set(baseline.key_columns)
    found, rows = np.unique(index[index >= 0], return_counts=True)
    for start, count in zip(found.tolist(), rows.tolist(), strict=True):
        windows.setdefault(start, baseline.empty_sketch()).rows += count
    hasher = RowHasher(chunk.rows)
    names = [name for name in unique(chunk.names) if name in known]
    for name, begin, piece in _pieces(chunk, [name for name in names if name in keys]):
        counted = _count_piece(baseline, name, piece, index[begin : begin + len(piece)], windows)
        hasher.add_key(known[name], begin, piece, counted)
    hasher.choose({start: windows[start].sample.exponent for start in found.tolist()}, index)
    for name, begin, piece in _pieces(chunk, [name for name in names if name not in keys]):
        counted = _count_piece(baseline, name, piece, index[begin : begin + len(piece)], windows)
        hasher.add(known[name], begin, piece, counted)
    for start, sample in hasher.samples():
        windows[start].add_rows(sample)


def _count_piece(
    baseline: FrozenBaseline, name: str, piece: pa.Array, index: NDArray[np.int64], windows: Mapping[int, TableSketch]
) -> ColumnSketch:
    """Add the piece's values to the windows; returns what those of all windows gave together."""
    column = baseline.by_name[name]
    total = column.empty_sketch()
    for start in np.unique(index[index >= 0]).tolist():
        here = index == start
        counted = count_column(column, piece if here.all() else piece.filter(pa.array(here)))
        windows[start].add(name, counted)
        total += counted
    if total.rows < len(piece):  # rows of no window: nobody has looked whether they hold nulls
        total.nulls += len(piece) - total.rows
    return total


def _finish(baseline: FrozenBaseline, sketch: TableSketch, reader: TableReader) -> TableSketch:
    """Add what only the reader knows: bad rows, and columns that were not even read."""
    sketch.bad_rows += reader.bad_rows
    known = baseline.by_name
    sketch.new |= frozenset(name for name in reader.names if name not in known and name not in baseline.untested)
    return sketch
