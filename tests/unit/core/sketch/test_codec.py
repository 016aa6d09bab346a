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
from driftsonde.core.sketch.table import Layout, TableSketch

STEADY = settings(derandomize=True, deadline=None)
COUNT = st.integers(0, 2**63 - 1)
LAYOUT = Layout("d" * 64, {"x": 3, "y": 2})


def filled(counts: list[int], nulls: list[int], invalid: list[int], heads: tuple[int, int, int], new: frozenset[str]) -> TableSketch:
    sketch = TableSketch.empty(LAYOUT)
    sketch.counts[:], sketch.nulls[:], sketch.invalid[:], sketch.new = counts, nulls, invalid, new
    sketch.rows, sketch.bad_rows, sketch.unreadable = heads
    return sketch


def several(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.one_of(COUNT, st.integers(0, 300), st.integers(0, 70_000)), min_size=size, max_size=size)


tables = st.builds(
    filled, several(5), several(2), several(2), st.tuples(COUNT, COUNT, COUNT), st.frozensets(st.text(max_size=5), max_size=4)
)


def small() -> bytes:
    return encode_table(filled([1, 2, 300, 0, 7], [4, 0], [5, 0], (312, 1, 0), frozenset({"new"})))


def decoded(data: bytes) -> TableSketch:
    return decode_table(data, LAYOUT)


@settings(STEADY, max_examples=200)
@given(tables)
def test_table_survives_the_round_trip(table: TableSketch) -> None:
    data = encode_table(table)
    assert decoded(data) == table
    assert encode_table(decoded(data)) == data


def test_names_with_lone_surrogates_survive_the_round_trip() -> None:
    table = filled([0] * 5, [0, 0], [0, 0], (0, 0, 0), frozenset({"\ud800"}))
    assert decoded(encode_table(table)) == table


def test_sketch_of_another_baseline_is_refused() -> None:
    with pytest.raises(SketchError, match="another baseline"):
        decode_table(small(), Layout("e" * 64, LAYOUT.sizes))


@pytest.mark.parametrize("sizes", [{"x": 3, "y": 3}, {"x": 5}], ids=["bins", "columns"])
def test_sketch_with_other_bins_than_its_baseline_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(SketchError, match="other bins"):
        decode_table(small(), Layout(LAYOUT.baseline, sizes))


def test_every_flipped_bit_is_noticed() -> None:
    data = small()
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            with pytest.raises(SketchError):
                decoded(bytes(damaged))


def test_every_flipped_byte_is_noticed() -> None:
    data = small()
    for place in range(len(data)):
        for value in {0, 255, data[place] ^ 255} - {data[place]}:
            with pytest.raises(SketchError):
                decoded(data[:place] + bytes([value]) + data[place + 1 :])


def test_truncation_at_any_length_is_noticed() -> None:
    data = small()
    for length in range(len(data)):
        with pytest.raises(SketchError):
            decoded(data[:length])


def test_bytes_after_the_end_are_noticed() -> None:
    with pytest.raises(SketchError, match="damaged"):
        decoded(small() + b"\x00")
    with pytest.raises(SketchError, match="after its end"):
        decoded(pack(unpack(small()) + b"\x00"))


@settings(STEADY, max_examples=300)
@given(st.data())
def test_damage_behind_a_right_checksum_never_raises_anything_else(data: st.DataObject) -> None:
    payload = bytearray(unpack(small()))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=3)):
        payload[place] = data.draw(st.integers(0, 255))
    del payload[data.draw(st.integers(1, len(payload))) :]
    with contextlib.suppress(SketchError):
        decoded(pack(bytes(payload)))


@settings(STEADY, max_examples=200)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_raise_anything_else(data: bytes) -> None:
    for attempt in (data, b"DSK" + data, pack(data)):
        with pytest.raises(SketchError):
            decoded(attempt)


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
        decoded(bytes(data))


def test_something_else_of_ours_is_not_a_table() -> None:
    out = Writer()
    out.text("baseline")
    with pytest.raises(SketchError, match="not the sketch of a table"):
        decoded(out.finish())


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
