"""What sketches promise at their edges: bins that are none, integers that floats cannot tell apart, frames and layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

from driftsonde.core.sketch.categorical import Levels, fit_levels
from driftsonde.core.sketch.codec import (
    MAX_BYTES,
    VERSION,
    Reader,
    SketchError,
    Writer,
    decode_table,
    digest_tables,
    encode_table,
    pack,
    unpack,
)
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins, fit_numeric
from driftsonde.core.sketch.table import Layout, TableSketch, merge

LAYOUT = Layout("digest", {"x": 4, "y": 3})


def table(**changed: int) -> TableSketch:
    sketch = TableSketch(LAYOUT, 12, 3, 1, np.arange(7), np.array([1, 2]), np.array([3, 4]), frozenset({"new"}))
    for name, value in changed.items():
        setattr(sketch, name, value)
    return sketch


@pytest.mark.parametrize("edges", [[0.0, 2.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, np.inf], [[0.0, 1.0], [2.0, 3.0]], []])
def test_edges_out_of_order_or_shape_are_refused(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        NumericBins(np.array(edges))


def test_two_edges_are_enough() -> None:
    assert NumericBins(np.array([0.0, 1.0])).size == 3
    assert NumericBins(np.array([-np.inf, 1.0])).count(np.array([-1e308])).counts.tolist() == [0, 1, 0]


def test_outer_bins_never_hold_a_single_value() -> None:
    just_below = float(np.nextafter(7.0, 0.0))
    assert NumericBins(np.array([just_below, 7.0, 8.0])).single_valued().tolist() == [False, True, False, False]
    assert NumericBins(np.array([0.0, just_below, 7.0])).single_valued().tolist() == [False, False, True, False]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("beyond", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("repeats", [1, 100])
def test_integers_about_the_last_exact_one_count_as_floats(dtype: type, beyond: int, repeats: int) -> None:
    exact = 2**53
    frozen = NumericBins(np.array([-exact, 1.0 - exact, 0.0, exact - 1.0, exact, exact + 2.0]))
    values: NDArray[Any] = np.repeat(np.array([exact + beyond, 1], dtype=dtype), repeats)
    assert frozen.count(values) == frozen.count(values.astype(np.float64))
    if dtype is np.int64:
        assert frozen.count(-values) == frozen.count(-values.astype(np.float64))


def test_quantile_edges_cut_equal_masses() -> None:
    sample = np.arange(1.0, 101.0)
    edges = fit_numeric(sample, minimum=1.0, maximum=100.0, distinct=None, bins=4).edges
    assert edges.tolist() == [np.nextafter(1.0, 0.0), 25.0, 50.0, 75.0, 100.0]
    assert fit_numeric(sample, minimum=1.0, maximum=100.0, distinct=None, bins=1).edges.tolist() == [np.nextafter(1.0, 0.0), 100.0]


def test_quantiles_between_two_values_are_the_upper_one() -> None:
    edges = fit_numeric(np.arange(1.0, 11.0), minimum=1.0, maximum=10.0, distinct=None, bins=4).edges
    assert edges.tolist() == [np.nextafter(1.0, 0.0), 3.0, 5.0, 8.0, 10.0]


def test_value_holding_one_bins_mass_exactly_gets_a_bin_of_its_own() -> None:
    sample = np.concatenate([np.full(25, 60.5), np.arange(75.0)])
    bins = fit_numeric(sample, minimum=0.0, maximum=74.0, distinct=None, bins=4)
    assert np.nextafter(60.5, 0.0) in bins.edges
    fewer = np.concatenate([np.full(24, 60.5), np.arange(76.0)])
    assert np.nextafter(60.5, 0.0) not in fit_numeric(fewer, minimum=0.0, maximum=75.0, distinct=None, bins=4).edges


def test_levels_are_ranked_by_frequency_then_by_name() -> None:
    levels = fit_levels({"b": 5, "a": 5, "c": 9, "d": 1}, max_categories=2, complete=True)
    assert (levels.tracked, levels.others, levels.names, levels.size) == (("c", "a"), frozenset("bd"), ("c", "a", "b", "d"), 4)
    assert levels.slots(np.array([0, 1, 2, 3, -1])).tolist() == [0, 1, 2, 2, 3]
    assert [levels.label(index) for index in range(4)] == ["c", "a", "(other)", "(unseen)"]
    assert Levels(("c", "a"), complete=False).slots(np.array([-1, 0])).tolist() == [2, 0]
    assert Levels(("c",)).complete


def test_column_of_no_bins_has_one_count() -> None:
    empty = ColumnBaseline("z", "empty", None, ColumnSketch(np.array([0])))
    assert (empty.size, empty.singletons, empty.tests_outside, empty.empty_sketch().counts.tolist()) == (1, 0, False, [0])
    known = ColumnBaseline("c", "categorical", Levels(("a",)), ColumnSketch(np.array([1, 0, 0])))
    assert (known.tests_outside, known.empty_sketch()) == (True, ColumnSketch(np.zeros(3, dtype=np.int64)))


def test_columns_are_equal_in_all_their_counts() -> None:
    column = ColumnSketch(np.array([1, 2]), 3, 4)
    assert (column.valid, column.rows) == (3, 10)
    assert column == ColumnSketch(np.array([1, 2]), 3, 4)
    for other in (ColumnSketch(np.array([2, 1]), 3, 4), ColumnSketch(np.array([1, 2]), 4, 4), ColumnSketch(np.array([1, 2]), 3, 5), "text"):
        assert column != other
    assert column + ColumnSketch(np.array([10, 20]), 30, 40) == ColumnSketch(np.array([11, 22]), 33, 44)
    assert (ColumnSketch(np.array([1])).nulls, ColumnSketch(np.array([1])).invalid) == (0, 0)


def test_layout_says_where_each_column_lies() -> None:
    assert (LAYOUT.places, LAYOUT.starts.tolist(), LAYOUT.width) == ({"x": 0, "y": 1}, [0, 4, 7], 7)
    assert (LAYOUT.slots("x"), LAYOUT.slots("y")) == (slice(0, 4), slice(4, 7))
    assert Layout("digest", {}).width == 0


def test_table_counts_rows_by_column() -> None:
    sketch = table()
    assert (sketch.valid.tolist(), sketch.seen.tolist()) == ([6, 15], [10, 21])
    assert sketch.column("y") == ColumnSketch(np.array([4, 5, 6]), 2, 4)
    sketch.add("y", ColumnSketch(np.array([1, 1, 1]), 1, 1))
    assert (sketch.seen.tolist(), sketch.column("y")) == ([10, 26], ColumnSketch(np.array([5, 6, 7]), 3, 5))
    sketch += table()
    assert sketch.seen.tolist() == [20, 47]
    assert TableSketch.empty(Layout("digest", {})).seen.tolist() == []


def test_merging_adds_everything_and_changes_neither_side() -> None:
    one, other = table(), table(rows=100)
    other.new = frozenset({"newer"})
    total = one + other
    assert (total.rows, total.bad_rows, total.unreadable, total.new) == (112, 6, 2, frozenset({"new", "newer"}))
    assert (total.counts.tolist(), total.nulls.tolist(), total.invalid.tolist()) == ([2 * i for i in range(7)], [2, 4], [6, 8])
    assert one == table()
    assert merge(LAYOUT, []) == TableSketch.empty(LAYOUT)


@pytest.mark.parametrize("name", ["rows", "bad_rows", "unreadable"])
def test_tables_that_differ_in_a_number_are_not_equal(name: str) -> None:
    assert table() == table()
    assert table() != table(**{name: 99})


@pytest.mark.parametrize("name", ["counts", "nulls", "invalid"])
def test_tables_that_differ_in_counts_are_not_equal(name: str) -> None:
    other = table()
    setattr(other, name, getattr(other, name) + 1)
    assert table() != other
    assert table() != "text"


def test_digest_depends_on_every_table_and_their_order() -> None:
    one, other = table(), table(rows=13)
    digests = [digest_tables(some) for some in ([], [one], [other], [one, other], [other, one])]
    assert len(set(digests)) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_frame_has_no_second_checksum_and_tells_its_size() -> None:
    packed = pack(b"payload")
    assert (packed[:3], packed[3]) == (b"DSK", VERSION)
    frame = zstandard.get_frame_parameters(packed[8:])
    assert (frame.has_checksum, frame.content_size) == (False, 7)
    assert unpack(packed) == b"payload"


def test_frame_that_would_unpack_to_more_than_the_limit_is_refused() -> None:
    assert MAX_BYTES == 256 * 1024 * 1024
    with pytest.raises(SketchError, match="limit"):
        unpack(pack(bytes(MAX_BYTES + 1)))


@pytest.mark.parametrize(
    ("top", "width"), [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32 - 1, 4), (2**32, 8), (2**63 - 1, 8)]
)
def test_counts_take_the_narrowest_type_that_holds_them(top: int, width: int) -> None:
    writer = Writer()
    writer.counts(np.array([1, top, 0]))
    assert writer.payload[:6] == b"c" + bytes([width]) + (3).to_bytes(4, "little")
    assert len(writer.payload) == 6 + 3 * width
    assert Reader(writer.finish()).counts().tolist() == [1, top, 0]


def test_fields_come_back_in_order_and_leave_nothing() -> None:
    writer = Writer()
    writer.integer(7)
    writer.texts(["a", "", "ü\ud800"])
    writer.floats(np.array([0.5, -np.inf]))
    writer.counts(np.array([], dtype=np.int64))
    reader = Reader(writer.finish())
    assert (reader.integer(), reader.texts(), reader.floats().tolist(), reader.counts().tolist()) == (
        7,
        ["a", "", "ü\ud800"],
        [0.5, -np.inf],
        [],
    )
    reader.finish()


@pytest.mark.parametrize("read", [Reader.text, Reader.counts, Reader.floats, Reader.finish])
def test_field_of_another_type_is_refused(read: Callable[[Reader], object]) -> None:
    writer = Writer()
    writer.integer(7)
    with pytest.raises(SketchError):
        read(Reader(writer.finish()))


def test_table_of_other_bins_is_refused() -> None:
    assert decode_table(encode_table(table()), LAYOUT) == table()
    for sizes in ({"x": 4, "y": 4}, {"x": 7}, {"x": 4, "y": 2, "z": 1}):
        with pytest.raises(SketchError, match="other bins"):
            decode_table(encode_table(table()), Layout("digest", sizes))
    with pytest.raises(SketchError, match="another baseline"):
        decode_table(encode_table(table()), Layout("other", LAYOUT.sizes))
