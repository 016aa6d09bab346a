"""The hand-read footer says what pyarrow says of a healthy file, and ValueError of a damaged one."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.readers.footer import Chunk, row_groups

STEADY = settings(derandomize=True, deadline=None)
TABLE = pa.table({
    "a.b": range(1_000),
    "s": [{"x": 1, "y": [1, 2]}] * 1_000,
    "c": ["text", None] * 500,
    "z": pa.nulls(1_000),
    **{f"c{index}": [True] * 1_000 for index in range(20)},
})  # fmt: skip


def written(**options: Any) -> tuple[bytes, bytes]:
    """Return a file and its footer."""
    out = io.BytesIO()
    pq.write_table(TABLE, out, **options)
    data = out.getvalue()
    return data, data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize(
    "options",
    [{}, {"row_group_size": 70}, {"use_dictionary": False, "write_page_checksum": True}, {"data_page_version": "2.0", "write_page_index": True},
     {"sorting_columns": [pq.SortingColumn(0)], "version": "1.0", "compression": "zstd"}],
    ids=str,
)  # fmt: skip
def test_chunks_are_those_that_pyarrow_names(options: dict[str, Any]) -> None:
    data, footer = written(**options)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    for group, (rows, chunks) in enumerate(row_groups(footer, len(data))):
        assert rows == metadata.row_group(group).num_rows
        theirs = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        starts = [min(c.data_page_offset, c.dictionary_page_offset or c.data_page_offset) for c in theirs]
        assert [(chunk.start, chunk.stop) for chunk in chunks] == [
            (start, start + chunk.total_compressed_size) for start, chunk in zip(starts, theirs, strict=True)
        ]
        assert [chunk.values for chunk in chunks] == [c.num_values for c in theirs]
        assert {chunk.codec for chunk in chunks} == {{"SNAPPY": 1, "ZSTD": 6}[c.compression] for c in theirs}
    assert len(row_groups(footer, len(data))) == metadata.num_row_groups


def test_chunks_outside_the_file_are_empty() -> None:
    _, footer = written()
    ((rows, chunks),) = row_groups(footer, 0)
    assert rows == 1_000
    assert {(chunk.start, chunk.stop) for chunk in chunks} == {(0, 0)}


DATA, FOOTER = written(row_group_size=500)


@settings(STEADY, max_examples=300)
@given(st.integers(0, len(FOOTER) - 1), st.integers(0, 255), st.integers(0, len(FOOTER)))
def test_damage_gives_chunks_within_the_file_or_a_value_error(place: int, value: int, length: int) -> None:
    damaged = (FOOTER[:place] + bytes([value]) + FOOTER[place + 1 :])[:length]
    try:
        groups = row_groups(damaged, len(DATA))
    except ValueError:
        return
    assert all(isinstance(chunk, Chunk) and 0 <= chunk.start <= chunk.stop <= len(DATA) for group in groups for chunk in group.chunks)


@settings(STEADY, max_examples=300)
@given(st.binary(max_size=80))
def test_arbitrary_bytes_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        row_groups(data, 100)


@pytest.mark.parametrize(
    "data", [b"\x1c" * 50, b"\x19\xfc\xff\xff\xff\xff\x7f", b"\x49\xf5\xff\xff\xff\xff\x7f", b"\x16" + b"\xff" * 20, b"\x1d"]
)
def test_nesting_lengths_and_numbers_are_bounded(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a Parquet footer"):
        row_groups(data, 100)
