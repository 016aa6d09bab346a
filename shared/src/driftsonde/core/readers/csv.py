"""CSV in blocks.

Columns that are known to hold numbers are parsed as such, at half the cost of text. At the first cell that is no number the object
is read again from its beginning, with every cell as text; columns that look like numbers are then turned into numbers batch by
batch. Which of the two was done does not show in what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers.chunks import BatchChunk, Chunk
from driftsonde.core.readers.limits import MIB, Limits, too_large
from driftsonde.core.readers.parquet import READ_ERRORS
from driftsonde.core.readers.table import Wanted

_DELIMITERS = (",", "\t", ";", "|")
_GATHER_ROWS = 16_384
_GATHER_BYTES = 16 * MIB
_NO_NUMBER = "CSV conversion error to double"


class CsvReader:
    """Reads a CSV object with a header line."""

    def __init__(
        self, name: str, reopen: Callable[[], IO[bytes]], wanted: Wanted, text: frozenset[str], numbers: frozenset[str], limits: Limits
    ) -> None:
        self.bad_rows = self.done = 0
        self._name, self._reopen, self._text, self._limits = name, reopen, text, limits
        first = _first_line(reopen(), name, limits.block_bytes)
        header, delimiter = _header(first, name)
        if len(header) > limits.max_columns:
            raise too_large(name, f"has {len(header):,} columns", "max_columns", limits.max_columns, "write fewer")
        if len(set(header)) != len(header):
            raise UnreadableObject(f"{name} names a column twice in its header")
        self.names = set(header)
        self._columns = [column for column in header if wanted(column)]
        self._numbers = numbers & set(self._columns) - text
        self._first = header[0]
        self._header, self._delimiter = header, delimiter

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield gathered blocks."""
        rows = 0
        try:
            for batch in self._read(self._numbers):
                rows += batch.num_rows
                yield batch
        except READ_ERRORS as exc:
            if _NO_NUMBER not in str(exc):
                raise self._unreadable(exc) from exc
            yield from self._again(skip=rows)

    def _again(self, skip: int) -> Iterator[pa.RecordBatch]:
        """Read every cell as text, and leave out the rows that were delivered as numbers."""
        self.bad_rows = 0
        try:
            for batch in self._read(frozenset()):
                begin = min(skip, batch.num_rows)
                skip -= begin
                if begin < batch.num_rows:
                    yield batch.slice(begin)
        except READ_ERRORS as exc:
            raise self._unreadable(exc) from exc

    def _unreadable(self, exc: BaseException) -> UnreadableObject:
        return UnreadableObject(f"{self._name} is not readable CSV: {exc}")

    def _read(self, numbers: frozenset[str]) -> Iterator[pa.RecordBatch]:
        # With no wanted column, one is read all the same, to count the rows.
        included = self._columns or [self._first]
        stream = self._reopen()
        _first_line(stream, self._name, self._limits.block_bytes)
        try:
            reader = pacsv.open_csv(
                pa.PythonFile(stream, mode="r"),
                read_options=pacsv.ReadOptions(block_size=self._limits.block_bytes, column_names=self._header, use_threads=False),
                parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=self._skip),
                convert_options=pacsv.ConvertOptions(
                    column_types={name: pa.float64() if name in numbers else pa.string() for name in included}, include_columns=included,
                    strings_can_be_null=True, quoted_strings_can_be_null=True, null_values=[""],
                ),
            )  # fmt: skip
        except READ_ERRORS as exc:
            if "Empty CSV file" in str(exc):  # a header and nothing else: an object with no rows
                return
            raise
        with reader:
            for batch in _gather(reader):
                yield self._typed(batch)

    def chunks(self, begin: int = 0) -> Iterator[Chunk]:  # text has no row groups
        """Yield the blocks, parsed."""
        return map(BatchChunk, self.batches())

    def _skip(self, _row: pacsv.InvalidRow) -> str:
        self.bad_rows += 1
        return "skip"

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = batch.schema.names
        arrays = [
            _as_numbers(column) if pa.types.is_string(column.type) and name not in self._text else column
            for name, column in zip(names, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=names)


def _as_numbers(column: pa.Array) -> pa.Array:
    """Return a column as numbers if every value of it is one, else as it is."""
    if column.null_count == len(column):
        return pa.nulls(len(column))
    try:
        return pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        return column


def _gather(reader: pacsv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
    """Join blocks until they are worth counting: a look-up in the bins costs the same for few rows as for many."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GATHER_ROWS or size >= _GATHER_BYTES:
            yield pa.concat_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)


def _first_line(stream: IO[bytes], name: str, limit: int) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= limit:
        byte = stream.read(1)
        if not byte:
            break
        line += byte
        if line.endswith(b"\n") and not line.strip(b"\r\n"):
            line.clear()
    if len(line) > limit:
        raise too_large(name, f"has a header line of {len(line):,} bytes or more", "block_bytes", limit, "shorten it")
    return bytes(line)


def _header(line: bytes, name: str) -> tuple[list[str], str]:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise UnreadableObject(f"{name} is not UTF-8: {exc}") from exc
    if not text or "\x00" in text:
        raise UnreadableObject(f"{name} has no header line")
    import csv

    delimiter = max(_DELIMITERS, key=text.count) if any(mark in text for mark in _DELIMITERS) else ","
    try:
        return next(csv.reader([text], delimiter=delimiter)), delimiter
    except csv.Error as exc:
        raise UnreadableObject(f"{name} has no readable header line: {exc}") from exc
