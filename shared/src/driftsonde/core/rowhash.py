"""Hashes of whole rows, column by column: equal rows have equal hashes in whatever file, batch or order they come.

Hashing every value would cost as much as counting a third of them. So the upper half of a row's hash is taken from a few columns
only, which tell rows apart best; where it says that a row cannot be in the sample, the other columns are not looked at.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftsonde.core.columns import NUMBER, PLAIN, column_type, encoded, is_text, names_of, slots
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.rows import Hashes, RowSample, chosen, least_exponent

_NULL = np.uint64(0x9E3779B97F4A7C15)
_SPELLINGS = {b"True": b"true", b"TRUE": b"true", b"False": b"false", b"FALSE": b"false"}
_UPPER, _LOWER = np.uint64(32), np.uint64(0xFFFFFFFF)


class RowHasher:
    """Takes the columns of a chunk as they are decoded, the baseline's key columns first, and gives the sample of its rows.

    Args:
        rows: how many the chunk has.
    """

    def __init__(self, rows: int) -> None:
        self._keys = np.zeros(rows, dtype=np.uint64)
        self._index: NDArray[np.int64] | None = None
        self._exponents: dict[int, int] = {}
        self._rows = np.zeros(0, dtype=np.intp)
        self._whole = np.zeros(0, dtype=np.uint64)

    def add_key(self, column: ColumnBaseline, begin: int, piece: pa.Array, counted: ColumnSketch) -> None:
        """Take the values of a key column from row `begin` on; `counted`: what they gave."""
        self._keys[begin : begin + len(piece)] += _products(column, piece, counted)

    def choose(self, exponents: Mapping[int, int], index: NDArray[np.int64] | None = None) -> None:
        """Decide which rows can be in the samples, once all key columns were taken.

        Args:
            exponents: what the sample of each window has reached so far.
            index: shape (rows,), the window of each row, negative for none; None if all are of window 0.
        """
        self._index = index
        upper = (self._keys >> _UPPER).astype(np.uint32)
        wanted = np.zeros(len(upper), dtype=bool)
        for window, exponent in exponents.items():
            mine = slice(None) if index is None else np.flatnonzero(index == window)
            self._exponents[window] = least_exponent(upper[mine], exponent)
            wanted[mine] = chosen(upper[mine], self._exponents[window])
        self._rows = np.flatnonzero(wanted)
        self._keys = upper[self._rows].astype(np.uint64) << _UPPER
        self._whole = np.zeros(len(self._rows), dtype=np.uint64)

    def add(self, column: ColumnBaseline, begin: int, piece: pa.Array, counted: ColumnSketch) -> None:
        """Take the values of another column from row `begin` on; `counted`: what they gave."""
        first, last = np.searchsorted(self._rows, [begin, begin + len(piece)])
        if first < last:
            self._whole[first:last] += _products(column, piece, counted, self._rows[first:last] - begin)

    def samples(self) -> Iterator[tuple[int, RowSample]]:
        """Yield each window and the sample of its rows."""
        hashes = self._keys | (_mix(self._whole) & _LOWER)
        for window, exponent in self._exponents.items():
            mine = hashes if self._index is None else hashes[self._index[self._rows] == window]
            yield window, RowSample.of(mine, exponent)


def _products(column: ColumnBaseline, array: pa.Array, counted: ColumnSketch, rows: NDArray[np.intp] | None = None) -> Hashes:
    """Return a hash of each value, or of those in some rows: its bits times an odd number of the column's own (Knuth 6.4).

    What counts as the same value in the column has the same hash, whatever type it comes in.
    """
    if column.kind == "numeric" and array.type in PLAIN and not counted.nulls and not counted.invalid:
        found = slots(array) if rows is None else slots(array)[rows]
        bits = (found if found.dtype == np.float64 else found.astype(np.float64)).view(np.uint64)
    else:
        given = array if rows is None or len(rows) == len(array) else _taken(array, rows)
        bits = _number_bits(given) if column.kind == "numeric" else _level_bits(given)
    products: Hashes = bits * _odd(column.name)
    return products


def _taken(array: pa.Array, rows: NDArray[np.intp]) -> pa.Array:
    if pa.types.is_string_view(array.type):  # of views Arrow takes nothing
        array = pc.cast(array, pa.large_string())
    elif column_type(array.type) == "nested":  # neither of views of bytes; and all such values count as none
        return pa.nulls(len(rows))
    return array.take(pa.array(rows))


@cache
def _odd(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "little") | 1)


def _number_bits(array: pa.Array) -> Hashes:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = column_type(array.type)
    if is_text(array.type):
        text = pc.utf8_trim_whitespace(pc.cast(array, pa.large_string()))
        array = pc.if_else(pc.match_substring_regex(text, NUMBER), text, pa.scalar(None, pa.large_string()))
    elif kind != "numeric" and not pa.types.is_boolean(array.type):
        return np.full(len(array), _NULL)
    values = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values), values.view(np.uint64), _NULL)  # text reads infinities as invalid


def _level_bits(array: pa.Array) -> Hashes:
    if column_type(array.type) in ("nested", "empty"):
        return np.full(len(array), _NULL)
    coded = encoded(array)
    # As bytes: what files call text need not be UTF-8.
    names = pc.cast(names_of(coded.dictionary), pa.large_binary()).to_pylist()
    missing = coded.dictionary.is_null(nan_is_null=True).to_pylist()
    known = (_NULL if null else _text_hash(_SPELLINGS.get(name, name)) for name, null in zip(names, missing, strict=True))
    bits: Hashes = np.array([*known, _NULL], dtype=np.uint64)
    codes: NDArray[np.int64] = pc.fill_null(pc.cast(coded.indices, pa.int64()), -1).to_numpy(zero_copy_only=False)
    return bits[codes]


def _text_hash(data: bytes) -> int:
    return zlib.crc32(data) << 32 | zlib.adler32(data)


def _mix(values: Hashes) -> Hashes:
    """MurmurHash3's 64-bit finaliser (Appleby 2011): every bit of the input moves every bit of the output."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        mixed: Hashes = values ^ (values >> np.uint64(33))
    return mixed
