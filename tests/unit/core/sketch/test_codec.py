"""Sketches as bytes: what goes in comes out, and damage is always a SketchError."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.sketch.codec import MAX_BYTES, VERSION, Reader, SketchError, Writer, decode_table, encode_table, pack, unpack
from driftsonde.core.sketch.table import ColumnSketch, TableSketch

STEADY = settings(derandomize=True, deadline=None)
COUNT = st.integers(0, 2**63 - 1)
columns = st.builds(
    lambda counts, nulls, invalid: ColumnSketch(np.array(counts, dtype=np.int64), nulls, invalid),
    st.lists(st.one_of(COUNT, st.integers(0, 300), st.integers(0, 70_000)), max_size=20), COUNT, COUNT,
)  # fmt: skip
tables = st.builds(
    TableSketch, st.text(max_size=10), COUNT, COUNT, COUNT, st.dictionaries(st.text(max_size=5), columns, max_size=4),
    st.frozensets(st.text(max_size=5), max_size=4),
)  # fmt: skip


def small() -> bytes:
    column = ColumnSketch(np.array([1, 2, 300]), nulls=4, invalid=5)
    return encode_table(TableSketch("d" * 64, 312, 1, 0, {"x": column}, frozenset({"new"})))


@settings(STEADY, max_examples=200)
@given(tables)
def test_table_survives_the_round_trip(table: TableSketch) -> None:
    data = encode_table(table)
    assert decode_table(data) == table
    assert encode_table(decode_table(data)) == data


def test_names_with_lone_surrogates_survive_the_round_trip() -> None:
    table = TableSketch("d", new=frozenset({"\ud800"}))
    assert decode_table(encode_table(table)) == table


def test_order_of_columns_does_not_show_in_the_bytes() -> None:
    one, other = ColumnSketch(np.array([1])), ColumnSketch(np.array([2]))
    assert encode_table(TableSketch("d", columns={"a": one, "b": other})) == encode_table(TableSketch("d", columns={"b": other, "a": one}))


def test_every_flipped_bit_is_noticed() -> None:
    data = small()
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            with pytest.raises(SketchError):
                decode_table(bytes(damaged))


def test_every_flipped_byte_is_noticed() -> None:
    data = small()
    for place in range(len(data)):
        for value in {0, 255, data[place] ^ 255} - {data[place]}:
            with pytest.raises(SketchError):
                decode_table(data[:place] + bytes([value]) + data[place + 1 :])


def test_truncation_at_any_length_is_noticed() -> None:
    data = small()
    for length in range(len(data)):
        with pytest.raises(SketchError):
            decode_table(data[:length])


def test_bytes_after_the_end_are_noticed() -> None:
    with pytest.raises(SketchError, match="damaged"):
        decode_table(small() + b"\x00")
    with pytest.raises(SketchError, match="after its end"):
        decode_table(pack(unpack(small()) + b"\x00"))


@settings(STEADY, max_examples=300)
@given(st.data())
def test_damage_behind_a_right_checksum_never_raises_anything_else(data: st.DataObject) -> None:
    payload = bytearray(unpack(small()))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=3)):
        payload[place] = data.draw(st.integers(0, 255))
    del payload[data.draw(st.integers(1, len(payload))) :]
    with contextlib.suppress(SketchError):
        decode_table(pack(bytes(payload)))


@settings(STEADY, max_examples=200)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_raise_anything_else(data: bytes) -> None:
    for attempt in (data, b"DSK" + data, pack(data)):
        with pytest.raises(SketchError):
            decode_table(attempt)


def framed(body: bytes) -> bytes:
    return struct.pack("<3sBI", b"DSK", VERSION, zlib.crc32(body)) + body


def test_frame_that_would_unpack_to_too_much_is_refused() -> None:
    compressor = zstandard.ZstdCompressor().compressobj(size=MAX_BYTES + 1)
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(MAX_BYTES >> 20)]
    body = b"".join([*parts, compressor.compress(b"\x00"), compressor.flush()])
    with pytest.raises(SketchError, match="limit"):
        unpack(framed(body))


def test_frame_of_unknown_size_is_still_bounded() -> None:
    body = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    assert unpack(framed(body)) == b"x" * 1000
    with pytest.raises(SketchError):
        unpack(framed(b"no zstd at all"))


def test_newer_version_is_named_in_the_message() -> None:
    data = bytearray(small())
    data[3] = VERSION + 1
    with pytest.raises(SketchError, match=f"version {VERSION + 1} is not supported"):
        decode_table(bytes(data))


def test_something_else_of_ours_is_not_a_table() -> None:
    out = Writer()
    out.text("baseline")
    with pytest.raises(SketchError, match="not the sketch of a table"):
        decode_table(out.finish())


@pytest.mark.parametrize("top", [0, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1])
def test_counts_take_the_narrowest_type_that_holds_them(top: int) -> None:
    out = Writer()
    out.counts(np.array([0, top]))
    width = next(width for width in (1, 2, 4, 8) if top < 1 << (8 * width))
    assert len(out.payload) == 1 + 5 + 2 * width
    assert Reader(out.finish()).counts().tolist() == [0, top]


def test_count_beyond_our_integers_is_refused() -> None:
    with pytest.raises(SketchError, match="out of range"):
        Reader(pack(b"c" + struct.pack("<BIQ", 8, 1, 1 << 63))).counts()


def test_counts_of_unknown_width_are_refused() -> None:
    with pytest.raises(SketchError, match="unknown width"):
        Reader(pack(b"c" + struct.pack("<BI", 3, 1) + b"abc")).counts()


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(SketchError, match="not UTF-8"):
        Reader(pack(b"t" + struct.pack("<I", 1) + b"\xff")).text()


def test_doubles_keep_every_bit() -> None:
    values = np.array([0.0, -0.0, 5e-324, -np.inf, np.nan, 0.1])
    out = Writer()
    out.floats(values)
    assert Reader(out.finish()).floats().tobytes() == values.tobytes()
