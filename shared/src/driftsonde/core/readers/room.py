"""How much memory it takes to decode column chunks of Parquet, from what their pages say: a footer can say anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from driftsonde.core.readers.footer import Chunk, Page, page_header
from driftsonde.core.readers.source import RangeFile

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_DECIMAL = 32
_CODE = 4  # bytes of a place in a dictionary
# By number of the codec: how many times its size a chunk can unpack to. For the others that is no bound worth having.
_MOST = {0: 1, 1: 24, 2: 1_040, 5: 260, 7: 260}
_NO_BOUND = 1 << 20
_FRONT_CODED = 7  # DELTA_BYTE_ARRAY: a value may repeat all of the one before it, for nothing
_CODED = frozenset({2, 8})  # encodings that refer to the dictionary
_HEADS = (512, 16 * 1024, 1024 * 1024)  # bytes in which a page's header is looked for


class Leaf(NamedTuple):
    """A column of the file, or a leaf of one that is nested.

    Args:
        column: the top-level column.
        width: bytes of a value, or None if it has no fixed width.
        coded: whether it is read as a dictionary.
        repeated: whether it lies in a list, so that a row can hold any number of values.
    """

    column: str
    width: int | None
    coded: bool
    repeated: bool

    @property
    def cell(self) -> int:
        """Bytes of a value beside those of texts."""
        return _CODE if self.width is None else self.width


class Room(NamedTuple):
    """Bytes that decoding takes.

    Args:
        held: by pages and dictionaries, whatever is decoded of them.
        row: by each row; at most this on average over any rows that are decoded together.
    """

    held: float
    row: float


def leaves(file: pq.ParquetFile) -> list[Leaf]:
    """Return the leaves of a schema, in its order."""
    schema = file.schema_arrow
    names = [(field.name, field.type.num_fields > 0) for field in schema for _ in range(_count(field.type))]
    found = []
    for place, (name, nested) in enumerate(names):
        leaf = file.schema.column(place)
        width = leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(leaf.physical_type)
        decimal = leaf.converted_type == "DECIMAL"
        if decimal and width is not None:
            width = max(width, _DECIMAL)
        found.append(Leaf(name, width, width is None and not nested and not decimal, leaf.max_repetition_level > 0))
    return found


def _count(kind: pa.DataType) -> int:
    """Return how many leaves an Arrow type has."""
    return sum(_count(kind.field(place).type) for place in range(kind.num_fields)) or 1


def room(file: RangeFile, chunk: Chunk, leaf: Leaf, rows: int, *, at_once: int, skewed: bool, enough: float) -> Room:
    """Return what it takes to decode a chunk.

    Args:
        file: where its pages are.
        rows: rows of the row group.
        at_once: rows that will be decoded together, if there is room.
        skewed: whether to assume that one row holds all values of a list.
        enough: if it cannot take more than this, the pages are not looked at.

    Raises:
        ValueError: if the chunk does not consist of pages.
    """
    unpacked = (chunk.stop - chunk.start) * _MOST.get(chunk.codec, _NO_BOUND)
    values = max(chunk.values, 0)
    several = values / max(rows, 1) if leaf.repeated else 1.0
    most = unpacked + (values if leaf.repeated else min(values, at_once)) * (leaf.cell + (unpacked if leaf.width is None else 0))
    if most <= enough:
        return Room(most, 0)
    held, text = _pages(_headers(file, chunk), leaf)
    value = leaf.cell + text
    if leaf.repeated and skewed:
        return Room(held + values * value, 0)
    return Room(held, several * value)


def _pages(pages: Iterable[Page], leaf: Leaf) -> tuple[int, float]:
    """Return the bytes that pages take while they are decoded, and how many a value takes beside its fixed width."""
    largest = dictionary = total = 0
    density, coded, front_coded = 0.0, False, False
    for page in pages:
        if page.dictionary:
            dictionary += page.unpacked
            continue
        largest, total = max(largest, page.unpacked), total + page.unpacked
        coded |= page.encoding in _CODED
        front_coded |= page.encoding == _FRONT_CODED
        if page.encoding not in _CODED:
            density = max(density, page.unpacked / max(page.values, 1))
    if leaf.width is not None:
        return largest + 2 * dictionary, 0.0
    # Texts are copied out of their page; where a batch begins or ends within a page, its share is not even.
    held = largest * (3 if density else 1) + 3 * dictionary
    return held, density + (total if front_coded else 0) + (0 if leaf.coded or not coded else dictionary)


def _headers(file: RangeFile, chunk: Chunk) -> Iterator[Page]:
    """Yield the headers of the pages that are read of a chunk."""
    at, values = chunk.start, 0
    while at < chunk.stop and values < chunk.values:
        page = header(file, at, chunk.stop)
        yield page
        at += page.size
        values += 0 if page.dictionary else page.values


def header(file: RangeFile, at: int, stop: int) -> Page:
    """Return the header of the page that begins at `at`.

    Raises:
        ValueError: if there is none before `stop`.
    """
    for size in _HEADS:
        file.seek(at)
        try:
            return page_header(bytes(file.read(min(size, stop - at))))
        except IndexError:
            continue
    raise ValueError("the header of a page has no end")
