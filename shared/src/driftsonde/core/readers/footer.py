"""What a Parquet file says of its column chunks and pages, read by hand.

pyarrow knows the footer too, but `metadata.row_group(g).column(c)` ends the process on some damaged footers: there the C++ exception
is caught by nobody. Page headers it does not show at all, and they alone say how much room a page will take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT, _UUID = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13
_VARINTS = frozenset({_I16, _I32, _I64})
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8, _UUID: 16}  # bytes
_MAX_DEPTH = 16
_MAX_SHIFT = 63
_LONG_LIST = 15
_DATA_HEADERS = {5: 2, 8: 4}  # fields of a page's header that describe data, version 1 and 2, and where each has the encoding
_DICTIONARY = 2
_CHECKSUM = 4  # field of a page's header


class Chunk(NamedTuple):
    """A column chunk, as the footer describes it; the footer may lie in all of it.

    Args:
        start, stop: bytes [start, stop) of the file; empty if they do not lie within it.
        codec: number of the compression.
        values: how many values are read of it at most, those of lists one by one.
    """

    start: int
    stop: int
    codec: int
    values: int


class RowGroup(NamedTuple):
    """How many rows a row group says that it has, and where its values lie, in the order of the schema's leaves."""

    rows: int
    chunks: list[Chunk]


class Page(NamedTuple):
    """A page's header.

    Args:
        dictionary: whether it holds a dictionary and no rows.
        size: bytes of the header and of what follows it.
        unpacked: bytes that it takes once decompressed.
        values: how many values it holds.
        encoding: number of their encoding.
        checked: whether it carries a checksum.
    """

    dictionary: bool
    size: int
    unpacked: int
    values: int
    encoding: int
    checked: bool


def row_groups(footer: bytes, size: int) -> list[RowGroup]:
    """Return the row groups of a file.

    Args:
        footer: the file's metadata, Thrift compact protocol.
        size: of the file.

    Raises:
        ValueError: if this is no such footer.
    """
    thrift = _Thrift(footer)
    groups: list[RowGroup] = []
    try:
        for field, kind in thrift.fields():
            if (field, kind) == (4, _LIST):
                groups = [_row_group(thrift, size) for _ in thrift.elements(_STRUCT)]
            else:
                thrift.skip(kind)
    except IndexError as exc:
        raise ValueError(f"not a Parquet footer: {exc}") from exc
    return groups


def page_header(data: bytes) -> Page:
    """Return the page whose header begins here.

    Raises:
        ValueError: if this is no header of a page.
        IndexError: if the header goes on beyond `data`.
    """
    thrift = _Thrift(data)
    kind = unpacked = packed = -1
    values, encoding, checked = 0, -1, False
    for field, type_ in thrift.fields():
        checked |= (field, type_) == (_CHECKSUM, _I32)
        if field in _DATA_HEADERS and type_ == _STRUCT:
            values, encoding = thrift.numbers(1, _DATA_HEADERS[field])
        elif type_ == _I32 and field <= 3:
            number = thrift.integer()
            kind, unpacked, packed = (number if field == place else was for place, was in enumerate((kind, unpacked, packed), start=1))
        else:
            thrift.skip(type_)
    if min(kind, unpacked, packed, values) < 0:
        raise ValueError("not the header of a Parquet page")
    return Page(kind == _DICTIONARY, thrift.at + packed, unpacked, values, encoding, checked)


def _row_group(thrift: _Thrift, size: int) -> RowGroup:
    chunks, rows = [], 0
    for field, kind in thrift.fields():
        if (field, kind) == (1, _LIST):
            chunks = [_column_chunk(thrift, size) for _ in thrift.elements(_STRUCT)]
        elif (field, kind) == (3, _I64):
            rows = thrift.integer()
        else:
            thrift.skip(kind)
    return RowGroup(rows, chunks)


def _column_chunk(thrift: _Thrift, size: int) -> Chunk:
    codec = values = start = length = 0
    for field, kind in thrift.fields():
        if (field, kind) == (3, _STRUCT):
            # codec, num_values, total_compressed_size, data_page_offset, dictionary_page_offset
            codec, values, length, data, dictionary = thrift.numbers(4, 5, 7, 9, 11)
            start = dictionary if 0 < dictionary < data else data
        else:
            thrift.skip(kind)
    if not 0 <= start < start + length <= size:
        start = length = 0
    return Chunk(start, start + length, codec, values)


class _Thrift:
    """A reader of Thrift's compact protocol, as far as footers and page headers need it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct; whoever asks must read or skip its value."""
        field, data = 0, self._data
        while True:
            head = data[self.at]
            self.at += 1
            if not head & 15:  # as Thrift has it: whatever the upper bits say
                return
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

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if kind in _VARINTS:
            data, at = self._data, self.at
            while data[at] > 127:
                at += 1
            self.at = at + 1
        elif kind == _BINARY:
            self._forward(self._varint())
        elif kind in _FIXED:
            self._forward(_FIXED[kind])
        elif depth > _MAX_DEPTH:
            raise ValueError("not a Parquet footer: nested too deeply")
        elif kind == _STRUCT:
            self._skip_fields(depth + 1)
        elif kind in (_LIST, _SET):
            count, inner = self._list_head()
            # Within a list a truth value takes a byte.
            inner = _BYTE if inner in (_TRUE, _FALSE) else inner
            for _ in range(count):
                self.skip(inner, depth + 1)
        else:
            raise ValueError(f"not a Parquet footer: type {kind}")

    def _skip_fields(self, depth: int) -> None:
        data, at = self._data, self.at
        while kind := data[at] & 15:
            at += 1
            if data[at - 1] < 16:  # the field's number is spelled out
                while data[at] > 127:
                    at += 1
                at += 1
            if kind in _VARINTS:
                while data[at] > 127:
                    at += 1
                at += 1
            elif kind == _BINARY and data[at] < 128:
                at += data[at] + 1
            else:
                self.at = at
                self.skip(kind, depth)
                at = self.at
        self.at = at + 1

    def numbers(self, *wanted: int) -> list[int]:
        """Read a struct and return some of its fields, which are numbers; 0 for those that it does not have.

        Most of a footer is read here, so that numbers and short texts take no call.
        """
        found = dict.fromkeys(wanted, 0)
        data, at, field = self._data, self.at, 0
        while (head := data[at]) & 15:
            at += 1
            kind = head & 15
            if head < 16:
                self.at = at
                field = self.integer()
                at = self.at
            else:
                field += head >> 4
            if kind in _VARINTS:
                value, shift = data[at] & 127, 0
                while data[at] > 127:
                    at += 1
                    shift += 7
                    value |= (data[at] & 127) << shift
                    if shift > _MAX_SHIFT:
                        raise ValueError("not a Parquet footer: a number without end")
                at += 1
                if field in found:
                    found[field] = (value >> 1) ^ -(value & 1)
            elif kind == _BINARY and data[at] < 128:
                at += data[at] + 1
            else:
                self.at = at
                self.skip(kind, 1)
                at = self.at
        self.at = at + 1
        return list(found.values())

    def _forward(self, size: int) -> None:
        self.at += size
        if self.at > len(self._data):
            raise IndexError("it ends too early")

    def _list_head(self) -> tuple[int, int]:
        head = self._data[self.at]
        self.at += 1
        return (self._varint() if head >> 4 == _LONG_LIST else head >> 4), head & 15

    def _varint(self) -> int:
        data, at = self._data, self.at
        byte = data[at]
        if byte < 128:
            self.at = at + 1
            return byte
        value, shift = byte & 127, 7
        while True:
            at += 1
            byte = data[at]
            value |= (byte & 127) << shift
            if byte < 128:  # the top bit says that more follows
                self.at = at + 1
                return value
            shift += 7
            if shift > _MAX_SHIFT:
                raise ValueError("not a Parquet footer: a number without end")
