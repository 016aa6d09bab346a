"""From Arrow arrays to what the pure sketch takes: finite numbers, or levels with how often they occur."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftsonde.core.monitoring.window import NO_TIME
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch, Floats
from driftsonde.core.sketch.numeric import NumericBins

ColumnType = Literal["numeric", "categorical", "time", "nested", "empty"]

# What `datetime` can express; a time beyond it is no time.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_ZONED = r"([Zz]|[+-]\d\d(:?\d\d)?)$"

_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"
_TIME_PROBE = 1_000
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NAN = r"(?i)^[+-]?nan(\(\w*\))?$"  # as Arrow's own parser takes it


# Types whose numbers lie in memory as numpy's. Not `to_pandas_dtype`, which imports pandas.
PLAIN: dict[pa.DataType, np.dtype[Any]] = {
    pa.float16(): np.dtype(np.float16), pa.float32(): np.dtype(np.float32), pa.float64(): np.dtype(np.float64),
    pa.int8(): np.dtype(np.int8), pa.int16(): np.dtype(np.int16), pa.int32(): np.dtype(np.int32), pa.int64(): np.dtype(np.int64),
    pa.uint8(): np.dtype(np.uint8), pa.uint16(): np.dtype(np.uint16), pa.uint32(): np.dtype(np.uint32), pa.uint64(): np.dtype(np.uint64),
}  # fmt: skip


class Numbers(NamedTuple):
    """Finite values of shape (n,), and how many were not."""

    values: Floats
    nulls: int
    invalid: int


class LevelCounts(NamedTuple):
    """(level, how often) pairs, and how many were not levels."""

    weights: list[tuple[str, int]]
    nulls: int
    invalid: int


def column_type(arrow_type: pa.DataType) -> ColumnType:
    """Say what an Arrow type is to us."""
    if pa.types.is_dictionary(arrow_type):
        return column_type(arrow_type.value_type)
    if pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_decimal(arrow_type):
        return "numeric"
    if pa.types.is_boolean(arrow_type) or is_text(arrow_type):
        return "categorical"
    if pa.types.is_null(arrow_type):
        return "empty"
    return "time" if pa.types.is_temporal(arrow_type) else "nested"


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether an Arrow type holds text."""
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type))


def numbers(array: pa.Array) -> Numbers:
    """Read an array as numbers: text is parsed, empty text and NaN are null, infinities and other text are invalid."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = column_type(array.type)
    if kind in ("time", "nested"):
        return Numbers(np.empty(0), array.null_count, len(array) - array.null_count)
    if is_text(array.type):
        return _parse(array)
    present = array.drop_null() if array.null_count else array
    values = (present if pa.types.is_float64(present.type) else pc.cast(present, pa.float64(), safe=False)).to_numpy(zero_copy_only=False)
    finite = np.isfinite(values)
    if finite.all():
        return Numbers(values, len(array) - len(values), 0)
    nan = int(np.isnan(values).sum())
    return Numbers(values[finite], len(array) - len(values) + nan, int(len(values) - finite.sum()) - nan)


def _parse(array: pa.Array) -> Numbers:
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.large_string())).drop_null()
    given = text.filter(pc.and_not(pc.not_equal(text, ""), pc.match_substring_regex(text, _NAN)))
    good = given.filter(pc.match_substring_regex(given, NUMBER))
    values = pc.cast(good, pa.float64()).to_numpy(zero_copy_only=False)
    finite = values[np.isfinite(values)]
    return Numbers(finite, len(array) - len(given), len(given) - len(finite))


def level_counts(array: pa.Array) -> LevelCounts:
    """Read an array as levels. Whole numbers are named alike whether they come as integers or as floats."""
    if pa.types.is_dictionary(array.type):
        encoded = array
    elif column_type(array.type) == "nested":
        return LevelCounts([], array.null_count, len(array) - array.null_count)
    elif column_type(array.type) == "time":
        encoded = pc.cast(array, pa.string()).dictionary_encode()
    else:
        encoded = _encodable(array).dictionary_encode()
    codes = encoded.indices.drop_null() if encoded.indices.null_count else encoded.indices
    if pa.types.is_null(encoded.dictionary.type):
        return LevelCounts([], len(array), 0)
    counts = np.bincount(codes.to_numpy(zero_copy_only=False), minlength=len(encoded.dictionary))
    nulls, invalid, weights = len(array) - len(codes), 0, []
    for value, count in zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True):
        if not count:
            continue
        if value is None or (isinstance(value, float) and math.isnan(value)):
            nulls += count
        elif isinstance(value, float) and math.isinf(value):
            invalid += count
        else:
            weights.append((level_name(value), count))
    return LevelCounts(weights, nulls, invalid)


def _encodable(array: pa.Array) -> pa.Array:
    """Widen the types that Arrow cannot dictionary-encode."""
    if pa.types.is_float16(array.type):
        return pc.cast(array, pa.float32())
    if pa.types.is_decimal32(array.type) or pa.types.is_decimal64(array.type):
        return pc.cast(array, pa.decimal128(array.type.precision, array.type.scale))
    return array


def level_name(value: object) -> str:
    """Return a level as text: `true` for True, "True" and "TRUE" (CSV has no booleans), `7` for 7 and 7.0, else as it prints."""
    if isinstance(value, bool) or value in ("True", "TRUE", "False", "FALSE"):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def looks_like_times(array: pa.Array) -> bool:
    """Say whether a text array holds ISO 8601 dates or times and nothing else."""
    values = array.dictionary if pa.types.is_dictionary(array.type) else array
    if not is_text(values.type):
        return False
    given = pc.cast(values.drop_null()[:_TIME_PROBE], pa.string())
    return len(given) > 0 and bool(pc.all(pc.match_substring_regex(given, _TIME)).as_py())


def row_times(array: pa.Array) -> NDArray[np.int64]:
    """Return each row's time in microseconds since 1970, UTC; `NO_TIME` where there is none or it cannot be read.

    Time stamps without a zone are taken as UTC; text is read as ISO 8601; numbers as seconds.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if is_text(array.type):
        return _text_times(array)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        micros = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False) * 1e6
        known = (micros >= _FIRST) & (micros <= _LAST)  # false for NaN, which stands for null
        return np.where(known, np.round(np.where(known, micros, 0.0)).astype(np.int64), NO_TIME)
    if pa.types.is_date(array.type):
        array = pc.cast(array, pa.timestamp("s"))
    if not pa.types.is_timestamp(array.type):
        return np.full(len(array), NO_TIME)
    ticks = pc.fill_null(pc.cast(array, pa.int64()), NO_TIME).to_numpy(zero_copy_only=False)
    if array.type.unit == "ns":
        return np.where(ticks == NO_TIME, NO_TIME, ticks // 1_000)
    scale = _MICROS[array.type.unit]
    known = (ticks >= _FIRST // scale) & (ticks <= _LAST // scale)
    return np.where(known, np.where(known, ticks, 0) * scale, NO_TIME)


def _text_times(array: pa.Array) -> NDArray[np.int64]:
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.large_string()))
    try:
        full = pc.replace_substring_regex(text, r"^(\d{4}-\d\d-\d\d)$", r"\1T00:00:00")
        zoned = pc.if_else(pc.match_substring_regex(full, _ZONED), full, pc.replace_substring_regex(full, "^(.*)$", r"\1Z"))
        parsed = pc.cast(zoned, pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:  # Arrow reads all or nothing: some value here is no time, or one that only Python can read
        return np.array([_text_time(value) for value in text.to_pylist()], dtype=np.int64)
    return row_times(parsed)


def _text_time(text: str | None) -> int:
    try:
        when = datetime.fromisoformat(text or "")
    except ValueError:
        return NO_TIME
    micros = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return micros if _FIRST <= micros <= _LAST else NO_TIME


def count_column(column: ColumnBaseline, array: pa.Array) -> ColumnSketch:
    """Count one array over a baseline column's bins."""
    if isinstance(column.bins, NumericBins):
        return _count_numbers(column.bins, array)
    if isinstance(column.bins, Levels):
        return _count_levels(column.bins, array)
    # The baseline has no value to compare with: only nulls matter, everything else is one bin.
    nan = numbers(array).nulls if column_type(array.type) == "numeric" else array.null_count
    return ColumnSketch(np.array([len(array) - nan], dtype=np.int64), nan)


def _count_numbers(bins: NumericBins, array: pa.Array) -> ColumnSketch:
    """Count integers and floats as they are; whatever else may hold numbers is made float64 first."""
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        return bins.count(slots(array), _present(array))
    values = numbers(array)
    return ColumnSketch(bins.count(values.values).counts, values.nulls, values.invalid)


def slots(array: pa.Array) -> NDArray[np.generic]:
    """Return the numbers in a plain array's own memory; in the place of a null stands anything."""
    dtype, memory = PLAIN[array.type], array.buffers()[1]
    if memory is None:  # as an empty array may have it
        return np.empty(len(array), dtype=dtype)
    return np.frombuffer(memory, dtype=dtype, count=len(array), offset=array.offset * dtype.itemsize)


def _present(array: pa.Array) -> NDArray[np.bool_] | None:
    """Return where an array is not null, from Arrow's own bits; None if it is nowhere null."""
    if not array.null_count:
        return None
    first = array.offset // 8
    bits = np.frombuffer(array.buffers()[0], dtype=np.uint8, offset=first, count=(array.offset + len(array) + 7) // 8 - first)
    return np.unpackbits(bits, bitorder="little")[array.offset % 8 :][: len(array)].view(np.bool_)


def _count_levels(levels: Levels, array: pa.Array) -> ColumnSketch:
    """Count by dictionary codes: each level is looked up once a batch, not once a row."""
    kind = column_type(array.type)
    if kind in ("nested", "empty"):
        return ColumnSketch(np.zeros(levels.size, dtype=np.int64), array.null_count, len(array) - array.null_count)
    coded = encoded(array)
    codes = coded.indices.drop_null() if coded.indices.null_count else coded.indices
    times = np.bincount(codes.to_numpy(), minlength=len(coded.dictionary))
    found = _places(levels, coded.dictionary)
    kept = ~(found.null | found.invalid)
    counts = np.bincount(levels.slots(found.places[kept]), weights=times[kept], minlength=levels.size)  # exact: far below 2**53
    nulls = len(array) - len(codes) + int(times[found.null].sum())
    return ColumnSketch(counts.astype(np.int64), nulls, int(times[found.invalid].sum()))


def encoded(array: pa.Array) -> pa.DictionaryArray:
    """Return an array of levels by dictionary; neither nested nor empty."""
    if pa.types.is_dictionary(array.type):
        return array
    return (pc.cast(array, pa.string()) if column_type(array.type) == "time" else _encodable(array)).dictionary_encode()


class _Places(NamedTuple):
    """Shape (values,): the place of each value among the levels (-1: none of them), and which are no levels at all."""

    places: NDArray[np.intp]
    null: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


def _places(levels: Levels, values: pa.Array) -> _Places:
    null = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(values.type):
        invalid = ~null & ~np.isfinite(values.to_numpy(zero_copy_only=False))
    else:
        invalid = np.zeros(len(values), dtype=bool)
    known = _lookup(levels)
    found = pc.fill_null(pc.index_in(names_of(values), value_set=known.names), -1).to_numpy()
    return _Places(known.places[found], null, invalid)


def names_of(values: pa.Array) -> pa.Array:
    """Return values as `level_name` names them, but for the spellings of truth values."""
    if is_text(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return pc.cast(values, pa.large_string())
    return pa.array([None if value is None else level_name(value) for value in values.to_pylist()], pa.large_string())


class _Lookup(NamedTuple):
    """Names of levels, other spellings of truth values behind them, and the place of each; -1 behind them all."""

    names: pa.Array
    places: NDArray[np.intp]


_lookups: WeakKeyDictionary[Levels, _Lookup] = WeakKeyDictionary()


def _lookup(levels: Levels) -> _Lookup:
    if levels not in _lookups:  # made once for each baseline
        places = {name: place for place, name in enumerate(levels.names)}
        places |= {text: places[level_name(text)] for text in ("True", "TRUE", "False", "FALSE") if level_name(text) in places}
        _lookups[levels] = _Lookup(pa.array(list(places), pa.large_string()), np.array([*places.values(), -1], dtype=np.intp))
    return _lookups[levels]
