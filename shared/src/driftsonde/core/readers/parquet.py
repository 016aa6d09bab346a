"""Parquet by planned range reads: the footer, then of each row group only the wanted columns."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers.limits import MIB, Limits
from driftsonde.core.readers.source import RangeFile, Source, Span, coalesce
from driftsonde.core.readers.table import Wanted

# Everything that pyarrow was seen to raise on damaged files; an error of the source itself passes through.
READ_ERRORS = (pa.ArrowException, OSError, EOFError, ValueError, OverflowError, MemoryError, TypeError)
_BUFFER = MIB


class ParquetReader:
    """Reads row group by row group."""

    def __init__(self, source: Source, wanted: Wanted, limits: Limits) -> None:
        self.bad_rows = 0
        self._name, self._limits = source.name, limits
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
            for group in range(metadata.num_row_groups):
                spans = coalesce(self._spans(group))
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

    def _spans(self, group: int) -> list[Span]:
        row_group = self._parquet.metadata.row_group(group)
        spans = []
        for index in range(row_group.num_columns):
            chunk = row_group.column(index)
            if chunk.path_in_schema.split(".")[0] in self._columns:
                first = chunk.data_page_offset
                if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                    first = min(first, chunk.dictionary_page_offset)
                spans.append((first, first + chunk.total_compressed_size))
        return spans
