"""Where the column chunks of a Parquet file lie, read from its footer by hand.

pyarrow knows it too, but `metadata.row_group(g).column(c)` ends the process on some damaged footers: there the C++ exception is
caught by nobody. What is read here only plans reads ahead, so that any doubt means "no plan" and pyarrow's own reader decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT, _UUID = 1, 2, 3, 6, 7, 8, 9, 10, 12, 13
_MAX_DEPTH = 16
_LONG_LIST = 15


class Chunk(NamedTuple):
    """Bytes [start, stop) of a top-level column's values, or of one leaf of it."""

    column: str
    start: int
    stop: int


class RowGroup(NamedTuple):
    """How many rows a row group says that it has, and where its values lie."""

    rows: int
    chunks: list[Chunk]


def row_groups(footer: bytes, size: int) -> list[RowGroup]:
    """Return the row groups of a file.

    Args:
        footer: the file's metadata, Thrift compact protocol.
        size: of the file; chunks that do not lie within are left out.

    Raises:
        ValueError: if this is no such footer.
    """
    thrift = _Thrift(footer)
    try:
        groups = [_row_group(thrift) for _ in thrift.list_at(4)]
    except (IndexError, UnicodeDecodeError) as exc:
        raise ValueError(f"not a Parquet footer: {exc}") from exc
    return [RowGroup(rows, [chunk for chunk in chunks if 0 <= chunk.start < chunk.stop <= size]) for rows, chunks in groups]


def _row_group(thrift: _Thrift) -> RowGroup:
    chunks, rows = [], 0
    for field, kind in thrift.fields():
        if (field, kind) == (1, _LIST):
            chunks = [chunk for _ in thrift.elements(_STRUCT) for chunk in _column_chunk(thrift)]
        elif (field, kind) == (3, _I64):
            rows = thrift.integer()
        else:
            thrift.skip(kind)
    return RowGroup(rows, chunks)


def _column_chunk(thrift: _Thrift) -> list[Chunk]:
    chunks = []
    for field, kind in thrift.fields():
        if (field, kind) == (3, _STRUCT):
            chunks = [_column_metadata(thrift)]
        else:
            thrift.skip(kind)
    return chunks


def _column_metadata(thrift: _Thrift) -> Chunk:
    path, numbers = [""], {7: 0, 9: 0, 11: 0}  # total_compressed_size, data_page_offset, dictionary_page_offset
    for field, kind in thrift.fields():
        if (field, kind) == (3, _LIST):
            path = [thrift.binary().decode() for _ in thrift.elements(_BINARY)] or path
        elif field in numbers and kind == _I64:
            numbers[field] = thrift.integer()
        else:
            thrift.skip(kind)
    size, data, dictionary = numbers.values()
    start = min(data, dictionary) if dictionary else data
    return Chunk(path[0], start, start + size)


class _Thrift:
    """A reader of Thrift's compact protocol, as far as a footer needs it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def list_at(self, wanted: int) -> Iterator[None]:
        """Go to field `wanted` of the outermost struct and yield once for each struct in it."""
        for field, kind in self.fields():
            if (field, kind) == (wanted, _LIST):
                yield from self.elements(_STRUCT)
            else:
                self.skip(kind)

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct; whoever asks must read or skip its value."""
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self.integer()
            yield field, head & 15

    def elements(self, wanted: int) -> Iterator[None]:
        """Yield once for each element of a list."""
        count, kind = self._list_head()
        if count and kind != wanted:
            raise ValueError("not a Parquet footer: a list holds something else")
        for _ in range(count):
            yield

    def integer(self) -> int:
        """Read a zigzag number."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        """Read a length and that many bytes."""
        size = self._varint()
        self._at += size
        return self._data[self._at - size : self._at]

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if depth > _MAX_DEPTH:
            raise ValueError("not a Parquet footer: nested too deeply")
        if kind in (_TRUE, _FALSE):
            pass  # the type is the value
        elif _BYTE < kind <= _I64:
            self._varint()
        elif kind in (_BYTE, _DOUBLE, _UUID):
            self._at += {_BYTE: 1, _DOUBLE: 8, _UUID: 16}[kind]
        elif kind == _BINARY:
            self.binary()
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (_LIST, _SET):
            count, inner = self._list_head()
            for _ in range(count):
                self._skip_element(inner, depth + 1)
        else:
            raise ValueError(f"not a Parquet footer: type {kind}")

    def _skip_element(self, kind: int, depth: int) -> None:
        # Within a list a truth value takes a byte.
        self.skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth)
        if self._at > len(self._data):
            raise ValueError("not a Parquet footer: it ends too early")

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        return (self._varint() if head >> 4 == _LONG_LIST else head >> 4), head & 15

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:  # the top bit says that more follows
                return value
            shift += 7
            if shift > 63:
                raise ValueError("not a Parquet footer: a number without end")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]
