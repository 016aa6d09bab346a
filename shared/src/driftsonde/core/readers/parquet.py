"""Parquet by planned range reads: the footer, then of each row group only the wanted columns."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers.chunks import BatchChunk, Chunk
from driftsonde.core.readers.footer import row_groups
from driftsonde.core.readers.limits import MIB, Limits, too_large
from driftsonde.core.readers.room import Leaf, Room, header, leaves, room
from driftsonde.core.readers.source import RangeFile, Source, Span, coalesce
from driftsonde.core.readers.table import Wanted

# Everything that pyarrow was seen to raise on damaged files; an error of the source itself passes through.
READ_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, OverflowError, MemoryError, TypeError)
_BUFFER = MIB
_LARGE_BYTES = 8 * MIB  # from this on a row group is decoded column by column
_MOST_ROWS = 4_000_000  # and up to this: which window each row belongs to is held for all of them
_FEW = 4  # or if so many times fewer rows than usual could be decoded of all columns together
_ENOUGH = 32 * MIB  # what cannot take more than this together is decoded without a look at its pages
_COLUMN_BYTES = 8 * MIB  # of a batch of one column: a dozen of them wait to be counted
_TAIL = struct.Struct("<I4x")  # the footer's length, then PAR1
_REWRITE = "write it with smaller row groups and pages"


class ParquetReader:
    """Reads row group by row group."""

    def __init__(self, source: Source, wanted: Wanted, limits: Limits) -> None:
        self.bad_rows = self.done = 0
        self._source, self._name, self._size, self._limits = source, source.name, source.size, limits
        self._file = RangeFile(source, block=_BUFFER)
        try:
            # One read-ahead block of the tail holds most footers.
            self._groups = row_groups(self._footer(), source.size)
            # Before pyarrow sees it: ten thousand columns cost it 100 MB.
            self._check_columns(max((len(group.chunks) for group in self._groups), default=0))
            first = pq.ParquetFile(self._file, pre_buffer=False, page_checksum_verification=True)
            schema = first.schema_arrow
            self._check_columns(first.metadata.num_columns)
            every = leaves(first)
        except READ_ERRORS as exc:
            raise self._unreadable(exc) from exc
        if len(set(schema.names)) != len(schema.names):
            raise UnreadableObject(f"{source.name} names a column twice")
        self._check_sizes(first.metadata, len(every))
        self.names = set(schema.names)
        self._columns = [name for name in schema.names if wanted(name)]
        self._leaves: dict[str, list[tuple[int, Leaf]]] = {name: [] for name in self._columns}
        for place, leaf in enumerate(every):
            if leaf.column in self._leaves:
                self._leaves[leaf.column].append((place, leaf))
        self._check_expansion()
        # Dictionaries keep one copy of a repeated text: 157 MB instead of 8 GB for a file made to hurt.
        texts = [name for name, mine in self._leaves.items() if any(leaf.coded for _, leaf in mine)]
        self._looked = False
        self._small = source.size <= _BUFFER  # then one read gets it all, and there is nothing to plan
        if not self._small:
            blocks = max(2, min(limits.prefetch_bytes // _BUFFER, 2 * len(self._columns)))
            self._file = RangeFile(source, block=_BUFFER, blocks=blocks)
        # What was fetched whole is read whole; what was not is read in pieces of a buffer's size.
        self._whole = self._parquet = first
        if texts or not self._small:
            self._whole, self._parquet = (
                pq.ParquetFile(
                    self._file, metadata=first.metadata, pre_buffer=False, buffer_size=size, read_dictionary=texts,
                    page_checksum_verification=True,
                ) for size in (0, _BUFFER)
            )  # fmt: skip

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of the wanted columns; a file of other columns yields batches that have rows and no columns."""
        rows = 0
        for group in range(len(self._groups)):
            self._plan([group], self._columns)
            for batch in self._decode([group], self._columns, self._at_once([group], self._columns, skewed=False)):
                rows += batch.num_rows
                yield batch
        self._check(rows)

    def chunks(self, begin: int = 0) -> Iterator[Chunk]:
        """Yield batches of small row groups, several at once, and large row groups column by column."""
        rows = sum(group.rows for group in self._groups[:begin])
        for run in self._runs(begin):
            group, self.done = self._groups[run[0]], run[0]
            at_once = 0
            if not self._by_column(run):
                self._plan(run, self._columns)
                at_once = self._at_once(run, self._columns, refuse=group.rows > _MOST_ROWS)
            if _FEW * at_once < min(self._limits.batch_rows, group.rows) and 0 <= group.rows <= _MOST_ROWS:
                for alone in run:
                    chunk = _RowGroup(self, alone, self._groups[alone].rows, self._columns)
                    rows += chunk.rows
                    yield chunk
                continue
            for batch in self._decode(run, self._columns, max(at_once, 1), gather=True):
                rows += batch.num_rows
                yield BatchChunk(batch)
        self._check(rows)

    def column(self, group: int, name: str, following: Sequence[str]) -> Iterator[pa.Array]:
        """Yield the pieces of one wanted column of a row group; `following`: the column that will be asked for next, if any."""
        fetched = self._plan([group], [name], then=following)
        rows = 0
        for batch in self._decode([group], [name], self._at_once([group], [name]), whole=fetched):
            rows += batch.num_rows
            yield batch.column(0)
        if rows != self._groups[group].rows:
            raise UnreadableObject(f"{self._name} holds {rows} rows of {name}, its footer says {self._groups[group].rows}")

    def _runs(self, begin: int) -> Iterator[list[int]]:
        """Put small row groups together: a look-up in the bins costs the same for few rows as for many."""
        run: list[int] = []
        for number, group in enumerate(self._groups[begin:], begin):
            if run and (self._by_column([number]) or sum(self._groups[n].rows for n in run) + group.rows > self._limits.batch_rows):
                yield run
                run = []
            run.append(number)
        if run:
            yield run

    def _gathered(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Join batches, of which none goes beyond its row group."""
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in batches:
            waiting.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= self._limits.batch_rows or size >= self._limits.batch_bytes:
                yield _joined(waiting)
                waiting, rows, size = [], 0, 0
        if waiting:
            yield _joined(waiting)

    def _by_column(self, run: list[int]) -> bool:
        group = self._groups[run[0]]
        size = sum(stop - start for start, stop in self._spans(run, self._columns))
        return len(run) == 1 and size >= _LARGE_BYTES and self._limits.batch_rows < group.rows <= _MOST_ROWS

    def _spans(self, groups: list[int], columns: Sequence[str]) -> list[Span]:
        chunks = [self._groups[number].chunks[place] for number, place, _ in self._chunks(groups, columns)]
        return coalesce([(chunk.start, chunk.stop) for chunk in chunks if chunk.start < chunk.stop])

    def _chunks(self, groups: list[int], columns: Sequence[str]) -> Iterator[tuple[int, int, Leaf]]:
        """Yield row group, place in it, and leaf of each chunk of some columns."""
        for column in columns:
            for place, leaf in self._leaves[column]:
                for number in groups:
                    yield number, place, leaf

    def _plan(self, groups: list[int], columns: Sequence[str], then: Sequence[str] = ()) -> bool:
        """Fetch what is read next in few requests, if it fits; what does not is read piece by piece instead."""
        if self._small:
            return False
        spans, following = self._spans(groups, columns), self._spans(groups, then)
        room = self._limits.prefetch_bytes
        fits = sum(stop - start for start, stop in spans) <= room
        ahead = fits and sum(stop - start for start, stop in (*spans, *following)) <= room
        self._file.plan(spans if fits else [], then=following if ahead else [])
        if fits and spans and not self._looked:
            self._look_for_checksum(groups, columns)
        return fits and bool(spans)

    def _look_for_checksum(self, groups: list[int], columns: Sequence[str]) -> None:
        """Note whether pages carry checksums, which Arrow verifies but says nothing of: the first page speaks for all."""
        self._looked = True
        number, place, _ = next(iter(self._chunks(groups, columns)))
        chunk = self._groups[number].chunks[place]
        with contextlib.suppress(ValueError):  # the decoder says what is wrong
            self._source.verified |= header(self._file, chunk.start, chunk.stop).checked

    def _at_once(self, groups: list[int], columns: Sequence[str], *, skewed: bool = True, refuse: bool = True) -> int:
        """Return how many rows can be decoded together; 0 if not one can, and that is no reason to refuse the object."""
        limits = self._limits
        need: dict[tuple[int, str], Room] = {}  # by leaf
        count = len(groups) * sum(len(self._leaves[column]) for column in columns)
        try:
            for number, place, leaf in self._chunks(groups, columns):
                group = self._groups[number]
                mine = room(
                    self._file, group.chunks[place], leaf, group.rows, at_once=limits.batch_rows, skewed=skewed, enough=_ENOUGH / count
                )
                key = place, leaf.column
                need[key] = Room(*map(max, mine, need.get(key, mine)))  # row groups are decoded one after the other
        except ValueError as exc:
            raise self._unreadable(exc) from exc
        held, row = (sum(part) for part in zip(Room(0, 0), *need.values(), strict=True))
        share = limits.batch_bytes if len(columns) > 1 else min(limits.batch_bytes, _COLUMN_BYTES)
        if held <= limits.held_bytes and row <= limits.held_bytes:
            return max(1, min(limits.batch_rows, int(share // max(row, 1))))
        if not refuse:
            return 0
        _, worst = max(need, key=lambda key: max(need[key]))
        what = f"needs {int(max(held, row)):,} bytes to be decoded (most of them for the column {worst!r})"
        raise too_large(self._name, what, "held_bytes", limits.held_bytes, _REWRITE)

    def _decode(
        self, groups: list[int], columns: Sequence[str], rows: int, *, whole: bool = False, gather: bool = False
    ) -> Iterator[pa.RecordBatch]:
        try:
            batches = (self._whole if whole else self._parquet).iter_batches(
                batch_size=rows, row_groups=groups, columns=list(columns), use_threads=False
            )
            for batch in self._gathered(batches) if gather else batches:
                yield from self._sliced(batch)
        except READ_ERRORS as exc:
            raise self._unreadable(exc) from exc

    def _sliced(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Cut a batch so that its texts would not take too much room if each row had a copy of its own."""
        longest, limits = 0, self._limits
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if pa.types.is_dictionary(field.type) and len(column.dictionary):
                length = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
                if length > limits.value_bytes:
                    what = f"has a value of {length:,} bytes in the column {field.name!r}"
                    raise too_large(self._name, what, "value_bytes", limits.value_bytes, "shorten it")
                longest = max(longest, length)
                if length * len(column) > limits.batch_bytes:
                    self._grow(pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0)
        rows = max(1, limits.batch_bytes // max(longest, 1))
        for begin in range(0, max(batch.num_rows, 1), rows):
            yield batch if rows >= batch.num_rows else batch.slice(begin, rows)

    def _grow(self, size: int) -> None:
        """Note what values take in memory.

        Raises:
            UnreadableObject: if it is out of proportion to the object.
        """
        self._grown += size
        most = self._limits.most_bytes(self._size)
        if self._grown > most:
            what = f"of {self._size:,} bytes grows to {self._grown:,} bytes or more in memory"
            raise too_large(self._name, what, "max_expansion x size, or free_expansion_bytes", most, "write it as several objects")

    def _check(self, rows: int) -> None:
        said = self._parquet.metadata.num_rows
        if rows != said:
            raise UnreadableObject(f"{self._name} holds {rows} rows, its footer says {said}")

    def _check_columns(self, columns: int) -> None:
        most = self._limits.max_columns
        if columns > most:
            raise too_large(self._name, f"has {columns:,} columns", "max_columns", most, "write fewer")

    def _check_sizes(self, metadata: pq.FileMetaData, columns: int) -> None:
        limits = self._limits
        rows = max(metadata.num_rows, sum(group.rows for group in self._groups))
        if rows > limits.max_rows:
            raise too_large(self._name, f"has {rows:,} rows", "max_rows", limits.max_rows, "write it as several objects")
        whole = metadata.num_columns == columns and all(len(group.chunks) == columns and group.rows >= 0 for group in self._groups)
        if not whole or len(self._groups) != metadata.num_row_groups:
            raise UnreadableObject(f"{self._name} is not readable Parquet: its footer contradicts itself")

    def _check_expansion(self) -> None:
        self._grown = 0
        mine = [(place, leaf.cell) for leaves_ in self._leaves.values() for place, leaf in leaves_]
        self._grow(sum(max(group.chunks[place].values, group.rows) * cell for group in self._groups for place, cell in mine))

    def _footer(self) -> bytes:
        """Return the file's metadata.

        Raises:
            ValueError: if the end of the file does not say where they are.
            UnreadableObject: if they are too large.
        """
        self._file.seek(max(0, self._size - _TAIL.size))
        tail = bytes(self._file.read(_TAIL.size))
        if len(tail) < _TAIL.size:
            raise ValueError("it is too short")
        (length,) = _TAIL.unpack(tail)
        if length > self._size - _TAIL.size:
            raise ValueError("its footer is longer than the file")
        if length > self._limits.footer_bytes:
            what = f"has a footer of {length:,} bytes"
            raise too_large(self._name, what, "footer_bytes", self._limits.footer_bytes, "write fewer row groups")
        self._file.seek(self._size - _TAIL.size - length)
        return bytes(self._file.read(length))

    def _unreadable(self, exc: BaseException) -> UnreadableObject:
        return UnreadableObject(f"{self._name} is not readable Parquet: {exc}")


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
        place = self.names.index(name)
        return self._reader.column(self._group, name, self.names[place + 1 : place + 2])
