"""Sketches of tables: any split and any order of the rows give the same bytes, and merging is counting the whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.counting import count_batch
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import encode_table
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.table import Layout, TableSketch, merge

STEADY = settings(derandomize=True, deadline=None)
SCHEMA = pa.schema({"x": pa.float64(), "k": pa.int64(), "c": pa.string(), "b": pa.bool_(), "extra": pa.string()})

rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324])),
        st.one_of(st.none(), st.integers(-3, 12)),
        st.one_of(st.none(), st.sampled_from(["a", "b", "", "rare", "New", "é"])),
        st.one_of(st.none(), st.booleans()),
        st.one_of(st.none(), st.text(max_size=3)),
    ),
    min_size=1,
    max_size=40,
)


def make_baseline() -> FrozenBaseline:
    random = np.random.default_rng(0)
    table = pa.table({
        "x": random.normal(size=2_000),
        "k": random.integers(0, 10, 2_000),
        "c": random.choice(["a", "b", "c", "rare"], 2_000, p=[0.6, 0.3, 0.09, 0.01]),
        "b": random.random(2_000) < 0.3,
    })  # fmt: skip
    return build(table.to_batches, BuildOptions(bins=16, max_categories=3))[0]


BASELINE = make_baseline()


def batch(part: Sequence[tuple[object, ...]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in part], schema=SCHEMA)


@settings(STEADY, max_examples=150)
@given(rows, st.lists(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_any_split_and_order_gives_identical_bytes(data: list[tuple[object, ...]], cuts: list[int], shuffler: object) -> None:
    shuffled = list(data)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random without saying so
    places = [0, *sorted(cuts), len(data)]
    parts = [shuffled[start:stop] for start, stop in itertools.pairwise(places)]
    sketches = [count_batch(BASELINE, batch(part)) for part in parts]
    whole = encode_table(count_batch(BASELINE, batch(data)))
    assert encode_table(merge(BASELINE.layout, sketches)) == whole
    assert encode_table(reduce(add, reversed(sketches))) == whole


@settings(STEADY, max_examples=100)
@given(rows)
def test_every_row_of_every_column_is_counted_once(data: list[tuple[object, ...]]) -> None:
    sketch = count_batch(BASELINE, batch(data))
    assert {name: column.rows for name, column in sketch.columns.items()} == dict.fromkeys("xkcb", len(data))
    assert sketch.new == {"extra"}


def test_merging_changes_neither_side() -> None:
    one, other = (count_batch(BASELINE, batch([(value, 1, "a", True, None)])) for value in (0.0, float("inf")))
    before = encode_table(one), encode_table(other)
    assert (one + other).columns["x"].invalid == 1
    assert (encode_table(one), encode_table(other)) == before


def test_folding_a_column_in_adds_to_it() -> None:
    sketch = TableSketch.empty(Layout("digest", {"x": 2}))
    for _ in range(2):
        sketch.add("x", ColumnSketch(np.array([1, 2]), nulls=3, invalid=4))
    assert sketch.columns["x"] == ColumnSketch(np.array([2, 4]), nulls=6, invalid=8)


def test_sketches_of_different_baselines_do_not_merge() -> None:
    with pytest.raises(ValueError, match="different baselines"):
        TableSketch.empty(Layout("one", {"x": 2})) + TableSketch.empty(Layout("other", {"x": 2}))


def test_columns_with_different_bins_do_not_merge() -> None:
    with pytest.raises(ValueError, match="different bins"):
        ColumnSketch(np.array([1])) + ColumnSketch(np.array([1, 2]))
    with pytest.raises(ValueError, match="different bins"):
        TableSketch.empty(Layout("digest", {"x": 2})).add("x", ColumnSketch(np.array([1])))


def test_merging_nothing_gives_the_empty_sketch() -> None:
    assert merge(BASELINE.layout, []) == BASELINE.empty_sketch()


def test_columns_of_different_kinds_are_never_equal() -> None:
    assert ColumnSketch(np.array([1])) != "counts"
    assert ColumnSketch(np.array([1])) != ColumnSketch(np.array([1]), nulls=1)
