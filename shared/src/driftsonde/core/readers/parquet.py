"""Parquet by planned range reads: the footer, then of each row group only the wanted columns."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers.chunks import BatchChunk, Chunk
from driftsonde.core.readers.footer import RowGroup, row_groups
from driftsonde.core.readers.limits import MIB, Limits
from driftsonde.core.readers.source import RangeFile, Source, Span, coalesce
from driftsonde.core.readers.table import Wanted

# Everything that pyarrow was seen to raise on damaged files; an error of the source itself passes through.
READ_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, OverflowError, MemoryError, TypeError)
_BUFFER = MIB
_MAX_PLANNED = 4 * MIB  # a footer beyond this takes seconds to walk through
_LARGE_BYTES = 8 * MIB  # from this on a row group is decoded column by column
_MOST_ROWS = 4_000_000  # and up to this: which window each row belongs to is held for all of them
_TAIL = struct.Struct("<I4x")  # the footer's length, then PAR1


class ParquetReader:
    """Reads row group by row group."""

    def __init__(self, source: Source, wanted: Wanted, limits: Limits) -> None:
        self.bad_rows = 0
        self._name, self._size, self._limits = source.name, source.size, limits
        self._file = RangeFile(source, block=_BUFFER)
        try:
            # One read-ahead block of the tail holds most footers.
            first = pq.ParquetFile(self._file, pre_buffer=False)
            schema = first.schema_arrow
        except READ_ERRORS as exc:
            raise UnreadableObject(f"{source.name} is not readable Parquet: {exc}") from exc
        if len(set(schema.names)) != len(schema.names):
            raise UnreadableObject(f"{source.name} names a column twice")
        if len(schema.names) > limits.max_columns:
            raise UnreadableObject(f"{source.name} has {len(schema.names)} columns, more than {limits.max_columns}", reason="too_large")
        self.names = set(schema.names)
        self._columns = [name for name in schema.names if wanted(name)]
        # Dictionaries keep one copy of a repeated text: 157 MB instead of 8 GB for a file made to hurt.
        texts = [field.name for field in schema if field.name in self._columns and pa.types.is_string(field.type)]
        small = source.size <= _BUFFER  # then one read gets it all, and there is nothing to plan
        if not small:
            blocks = max(2, min(limits.prefetch_bytes // _BUFFER, 2 * len(self._columns)))
            self._file = RangeFile(source, block=_BUFFER, blocks=blocks)
        # What was fetched whole is read whole; what was not is read in pieces of a buffer's size.
        self._whole = self._parquet = first
        if texts or not small:
            self._whole, self._parquet = (
                pq.ParquetFile(self._file, metadata=first.metadata, pre_buffer=False, buffer_size=size, read_dictionary=texts)
                for size in (0, _BUFFER)
            )
        self._groups = [] if small else self._read_groups()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of the wanted columns; a file of other columns yields batches that have rows and no columns."""
        rows = 0
        for group in range(self._parquet.metadata.num_row_groups):
            self._plan([group], self._columns)
            for batch in self._decode([group], self._columns):
                rows += batch.num_rows
                yield batch
        self._check(rows)

    def chunks(self) -> Iterator[Chunk]:
        """Yield batches of small row groups, several at once, and large row groups column by column."""
        if len(self._groups) != self._parquet.metadata.num_row_groups:  # no plan to go by
            yield from map(BatchChunk, self.batches())
            return
        rows = 0
        for run in self._runs():
            if self._by_column(run):
                chunk = _RowGroup(self, run[0], self._groups[run[0]].rows, self._columns)
                rows += chunk.rows
                yield chunk
                continue
            self._plan(run, self._columns)
            for batch in self._gathered(self._decode(run, self._columns)):
                rows += batch.num_rows
                yield BatchChunk(batch)
        self._check(rows)

    def column(self, group: int, place: int) -> Iterator[pa.Array]:
        """Yield the pieces of one wanted column of a row group."""
        name, following = self._columns[place], self._columns[place + 1 : place + 2]
        fetched = self._plan([group], [name], then=following)
        rows = 0
        for batch in self._decode([group], [name], whole=fetched):
            rows += batch.num_rows
            yield batch.column(0)
        if rows != self._groups[group].rows:
            raise UnreadableObject(f"{self._name} holds {rows} rows of {name}, its footer says {self._groups[group].rows}")

    def _runs(self) -> Iterator[list[int]]:
        """Put small row groups together: a look-up in the bins costs the same for few rows as for many."""
        run: list[int] = []
        for number, group in enumerate(self._groups):
            if run and (self._by_column([number]) or sum(self._groups[n].rows for n in run) + group.rows > self._limits.batch_rows):
                yield run
                run = []
            run.append(number)
        if run:
            yield run

    def _gathered(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Join batches, of which none goes beyond its row group."""
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(part.num_rows for part in waiting) >= self._limits.batch_rows:
                yield _joined(waiting)
                waiting = []
        if waiting:
            yield _joined(waiting)

    def _by_column(self, run: list[int]) -> bool:
        group = self._groups[run[0]]
        size = sum(stop - start for start, stop in self._spans(run, self._columns))
        return len(run) == 1 and size >= _LARGE_BYTES and self._limits.batch_rows < group.rows <= _MOST_ROWS

    def _spans(self, groups: list[int], columns: Sequence[str]) -> list[Span]:
        wanted = set(columns)
        mine = [chunk for number in groups if number < len(self._groups) for chunk in self._groups[number].chunks]
        return coalesce([(chunk.start, chunk.stop) for chunk in mine if chunk.column in wanted])

    def _plan(self, groups: list[int], columns: Sequence[str], then: Sequence[str] = ()) -> bool:
        """Fetch what is read next in few requests, if it fits; what does not is read piece by piece instead."""
        spans, following = self._spans(groups, columns), self._spans(groups, then)
        room = self._limits.prefetch_bytes
        fits = sum(stop - start for start, stop in spans) <= room
        ahead = fits and sum(stop - start for start, stop in (*spans, *following)) <= room
        self._file.plan(spans if fits else [], then=following if ahead else [])
        return fits and bool(spans)

    def _decode(self, groups: list[int], columns: Sequence[str], *, whole: bool = False) -> Iterator[pa.RecordBatch]:
        try:
            yield from (self._whole if whole else self._parquet).iter_batches(
                batch_size=self._limits.batch_rows, row_groups=groups, columns=list(columns), use_threads=False
            )
        except READ_ERRORS as exc:
            raise UnreadableObject(f"{self._name} is not readable Parquet: {exc}") from exc

    def _check(self, rows: int) -> None:
        said = self._parquet.metadata.num_rows
        if rows != said:
            raise UnreadableObject(f"{self._name} holds {rows} rows, its footer says {said}")

    def _read_groups(self) -> list[RowGroup]:
        try:
            self._file.seek(-_TAIL.size, io.SEEK_END)
            (length,) = _TAIL.unpack(self._file.read(_TAIL.size))
            if length > _MAX_PLANNED:
                return []
            self._file.seek(-_TAIL.size - length, io.SEEK_END)
            return row_groups(self._file.read(length), self._size)
        except (ValueError, struct.error):
            return []


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1 or not batches[0].num_columns:
        return batches[0] if len(batches) == 1 else _without_columns(sum(batch.num_rows for batch in batches))
    (joined,) = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches() or [batches[0]]
    return joined


def _without_columns(rows: int) -> pa.RecordBatch:
    """Return rows of a file that has none of the wanted columns."""
    return pa.record_batch({"": pa.nulls(rows)}).select([])


class _RowGroup:
    """A row group that is decoded column by column: all of it at once would take several times its size."""

    def __init__(self, reader: ParquetReader, group: int, rows: int, names: Sequence[str]) -> None:
        self.rows, self.names = rows, names
        self._reader, self._group = reader, group

    def pieces(self, name: str) -> Iterator[pa.Array]:
        """Decode a column."""
        return self._reader.column(self._group, self.names.index(name))
