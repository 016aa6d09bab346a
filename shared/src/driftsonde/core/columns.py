"""From Arrow arrays to what the pure sketch takes: finite numbers, or levels with how often they occur."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftsonde.core.monitoring.window import NO_TIME
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.numeric import Floats, NumericBins
from driftsonde.core.sketch.table import ColumnSketch

ColumnType = Literal["numeric", "categorical", "time", "nested", "empty"]

# What `datetime` can express; a time beyond it is no time.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_ZONED = r"([Zz]|[+-]\d\d(:?\d\d)?)$"

_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"
_TIME_PROBE = 1_000
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"


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
    if pa.types.is_boolean(arrow_type) or _is_text(arrow_type):
        return "categorical"
    if pa.types.is_null(arrow_type):
        return "empty"
    return "time" if pa.types.is_temporal(arrow_type) else "nested"


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type))


def numbers(array: pa.Array) -> Numbers:
    """Read an array as numbers: text is parsed, empty text and NaN are null, infinities and other text are invalid."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = column_type(array.type)
    if kind in ("time", "nested"):
        return Numbers(np.empty(0), array.null_count, len(array) - array.null_count)
    if _is_text(array.type):
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
    given = text.filter(pc.not_equal(text, ""))
    good = given.filter(pc.match_substring_regex(given, _NUMBER))
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
    if not _is_text(values.type):
        return False
    given = pc.cast(values.drop_null()[:_TIME_PROBE], pa.string())
    return len(given) > 0 and bool(pc.all(pc.match_substring_regex(given, _TIME)).as_py())


def row_times(array: pa.Array) -> NDArray[np.int64]:
    """Return each row's time in microseconds since 1970, UTC; `NO_TIME` where there is none or it cannot be read.

    Time stamps without a zone are taken as UTC; text is read as ISO 8601; numbers as seconds.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _is_text(array.type):
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
    if column.bins is None:
        # The baseline has no value to compare with: only nulls matter, everything else is one bin.
        nan = numbers(array).nulls if column_type(array.type) == "numeric" else array.null_count
        return ColumnSketch(np.array([len(array) - nan], dtype=np.int64), nan)
    if isinstance(column.bins, NumericBins):
        values = numbers(array)
        return ColumnSketch(column.bins.count(values.values), values.nulls, values.invalid)
    levels = level_counts(array)
    return ColumnSketch(column.bins.count(levels.weights), levels.nulls, levels.invalid)
