"""Which format an object has, and the reader for it."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any, Literal, Protocol, cast

import pyarrow as pa

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers.chunks import Chunk
from driftsonde.core.readers.limits import Limits, too_large
from driftsonde.core.readers.source import RangeFile, Source

Format = Literal["auto", "parquet", "csv", "jsonl"]
Wanted = Callable[[str], bool]

_PARQUET, _GZIP, _ZSTD = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv",
            ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}  # fmt: skip
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class TableReader(Protocol):
    """Reads one object once.

    Attributes:
        names: every column name met so far, wanted or not.
        bad_rows: rows that could not be parsed, so far.
        done: row groups that came before the chunk at hand; 0 in formats that have none.
    """

    names: set[str]
    bad_rows: int
    done: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the wanted columns, batch by batch; a column's type may differ from batch to batch.

        Raises:
            UnreadableObject: if the bytes are not what they should be.
        """
        ...

    def chunks(self, begin: int = 0) -> Iterator[Chunk]:
        """Yield the same rows for counting: columns that take much room are decoded one at a time, each time they are asked for.

        A chunk must be done with when the next one is asked for.

        Args:
            begin: row groups to leave out.

        Raises:
            UnreadableObject: if the bytes are not what they should be.
        """
        ...


def open_table(
    source: Source, *, wanted: Wanted = lambda _: True, text: Collection[str] = (), numbers: Collection[str] = (), form: Format = "auto",
    limits: Limits | None = None,
) -> TableReader:  # fmt: skip
    """Return the reader for an object.

    Args:
        source: the object.
        wanted: which columns to read.
        text: columns whose values are names even where they look like numbers (in CSV, `01234` stays `01234`).
        numbers: columns that are known to hold numbers; it saves guessing.
        form: the format; `auto` tells by content first and by name second.
        limits: bounds.

    Raises:
        UnreadableObject: if the object is empty or its format cannot be told.
    """
    from driftsonde.core.readers.csv import CsvReader
    from driftsonde.core.readers.json import JsonReader
    from driftsonde.core.readers.parquet import ParquetReader

    limits = limits or Limits()
    if source.size == 0:
        raise UnreadableObject(f"{source.name} is empty (0 bytes)", reason="unreadable")
    head = source.read(0, min(source.size, 4096))
    detected = _detect(source, head) if form == "auto" else form
    if detected == "parquet":
        return ParquetReader(source, wanted, limits)
    if detected == "csv":
        return CsvReader(source.name, lambda: _unpacked(source, head, limits), wanted, frozenset(text), frozenset(numbers), limits)
    return JsonReader(source.name, _unpacked(source, head, limits), wanted, limits)


def _detect(source: Source, head: bytes) -> str:
    if head.startswith(_PARQUET):
        return "parquet"
    name = source.name.lower().removesuffix(".gz").removesuffix(".zst")
    by_name = next((form for ending, form in _ENDINGS.items() if name.endswith(ending)), None)
    if by_name == "parquet":
        raise UnreadableObject(f"{source.name} is named Parquet but does not begin with PAR1")
    if by_name:
        return by_name
    if head.startswith((_GZIP, _ZSTD)):
        return "csv"
    if head.lstrip().startswith(b"{"):
        return "jsonl"
    if b"\x00" in head:
        raise UnreadableObject(f"{source.name} is binary and of no known format; set `format`", reason="unknown_format")
    return "csv"


def _unpacked(source: Source, head: bytes, limits: Limits) -> IO[bytes]:
    file: Any = RangeFile(source)
    if head.startswith(_GZIP):
        file = gzip.GzipFile(fileobj=io.BufferedReader(file, 1 << 16))
    elif head.startswith(_ZSTD):
        # Arrow's, because zstandard's own reader ends quietly where a frame was cut off.
        file = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    elif head.startswith(_UTF16):
        raise UnreadableObject(f"{source.name} is UTF-16; only UTF-8 is read")
    return cast("IO[bytes]", _Bounded(file, source, limits))


class _Bounded(io.RawIOBase):
    """Reads from a stream, turns every fault of a decompressor into one error, and stops at a limit."""

    def __init__(self, stream: Any, source: Source, limits: Limits) -> None:
        self._stream, self._source, self._limits = stream, source, limits
        self._most = min(limits.max_unpacked_bytes, limits.most_bytes(source.size))
        self._left = self._most

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        name = self._source.name
        try:
            data: bytes = self._stream.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as exc:
            raise UnreadableObject(f"{name} cannot be decompressed: {exc}") from exc
        self._left -= len(data)
        if self._left < 0:
            absolute = self._most == self._limits.max_unpacked_bytes
            limit = "max_unpacked_bytes" if absolute else "max_expansion x size, or free_expansion_bytes"
            what = f"of {self._source.size:,} bytes unpacks to {self._most - self._left:,} bytes or more"
            raise too_large(name, what, limit, self._most, "write it as several objects")
        return data
