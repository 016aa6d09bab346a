"""Parquet by planned range reads: the footer, then of each row group only the wanted columns."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers.footer import Chunk, column_chunks
from driftsonde.core.readers.limits import MIB, Limits
from driftsonde.core.readers.source import RangeFile, Source, coalesce
from driftsonde.core.readers.table import Wanted

# Everything that pyarrow was seen to raise on damaged files; an error of the source itself passes through.
READ_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, OverflowError, MemoryError, TypeError)
_BUFFER = MIB
_MAX_PLANNED = 4 * MIB  # a footer beyond this takes seconds to walk through
_TAIL = struct.Struct("<I4x")  # the footer's length, then PAR1


class ParquetReader:
    """Reads row group by row group."""

    def __init__(self, source: Source, wanted: Wanted, limits: Limits) -> None:
        self.bad_rows = 0
        self._name, self._size, self._limits = source.name, source.size, limits
        self._file = RangeFile(source, block=_BUFFER)
        try:
            # One read-ahead block of the tail holds most footers.
            schema = pq.ParquetFile(self._file, pre_buffer=False).schema_arrow
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
        blocks = max(2, min(limits.prefetch_bytes // _BUFFER, 2 * len(self._columns)))
        self._file = RangeFile(source, block=_BUFFER, blocks=blocks)
        self._parquet = pq.ParquetFile(self._file, pre_buffer=False, buffer_size=_BUFFER, read_dictionary=texts)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of the wanted columns; a file of other columns yields batches that have rows and no columns."""
        metadata = self._parquet.metadata
        rows = 0
        try:
            chunks = self._chunks()
            wanted = set(self._columns)
            for group in range(metadata.num_row_groups):
                mine = chunks[group] if group < len(chunks) else []
                spans = coalesce([(chunk.start, chunk.stop) for chunk in mine if chunk.column in wanted])
                fits = sum(stop - start for start, stop in spans) <= self._limits.prefetch_bytes
                self._file.plan(spans if fits else [])
                for batch in self._parquet.iter_batches(
                    batch_size=self._limits.batch_rows, row_groups=[group], columns=self._columns, use_threads=False
                ):
                    rows += batch.num_rows
                    yield batch
        except READ_ERRORS as exc:
            raise UnreadableObject(f"{self._name} is not readable Parquet: {exc}") from exc
        if rows != metadata.num_rows:
            raise UnreadableObject(f"{self._name} holds {rows} rows, its footer says {metadata.num_rows}")

    def _chunks(self) -> list[list[Chunk]]:
        try:
            self._file.seek(-_TAIL.size, io.SEEK_END)
            (length,) = _TAIL.unpack(self._file.read(_TAIL.size))
            if length > _MAX_PLANNED:
                return []
            self._file.seek(-_TAIL.size - length, io.SEEK_END)
            return column_chunks(self._file.read(length), self._size)
        except (ValueError, struct.error):
            return []
