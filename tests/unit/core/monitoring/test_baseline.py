"""The frozen baseline: its bytes, its digest, and damage to either."""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable, Iterable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import SketchError, Writer, pack, unpack
from driftsonde.core.sketch.table import TableSketch

STEADY = settings(derandomize=True, deadline=None)


def table(rows: int = 600) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table({
        "x": random.normal(size=rows),
        "k": pa.array(random.integers(0, 4, rows)),
        "c": pa.array(random.choice(["a", "b", "c"], rows), mask=random.random(rows) < 0.25),
        "z": pa.nulls(rows),
        "at": pa.array(range(rows), pa.timestamp("s")),
    })  # fmt: skip


def frozen(source: Callable[[], Iterable[pa.RecordBatch]] | None = None, **options: object) -> FrozenBaseline:
    chosen = BuildOptions(**{"bins": 16, "max_categories": 2, **options})  # type: ignore[arg-type]  # forwarded as given
    return build(source or table().to_batches, chosen)[0]


def small() -> FrozenBaseline:
    return frozen(bins=2, backtest=30, ignore=("x",))


@pytest.mark.parametrize(("backtest", "windows"), [(None, 0), (30, 30), (("at", timedelta(seconds=10)), 60)])
def test_baseline_survives_the_round_trip(backtest: int | tuple[str, timedelta] | None, windows: int) -> None:
    baseline = frozen(backtest=backtest)
    again = FrozenBaseline.from_bytes(baseline.data)
    assert (again.data, again.digest) == (baseline.data, baseline.digest)
    assert again.untested == {"at": "a time; not tested"}
    assert again.windows == windows
    assert [(column.name, column.kind, column.sketch, column.singletons, column.thresholds) for column in again.columns] == [
        (column.name, column.kind, column.sketch, column.singletons, column.thresholds) for column in baseline.columns
    ]


def test_empty_sketch_belongs_to_its_baseline() -> None:
    baseline = frozen()
    assert baseline.empty_sketch() == TableSketch.empty(baseline.layout)
    assert baseline.layout.baseline == baseline.digest
    assert list(baseline.by_name) == ["x", "k", "c", "z"]


def test_digest_changes_with_any_count() -> None:
    changed = table().set_column(1, "k", pa.array([*table()["k"].to_pylist()[:-1], None]))
    assert frozen(changed.to_batches).digest != frozen().digest


@settings(STEADY, max_examples=8)
@given(st.lists(st.integers(0, 600), max_size=6))
def test_digest_does_not_depend_on_batches(cuts: list[int]) -> None:
    whole, places = table(), [0, *sorted(cuts), 600]
    parts = [whole.slice(start, stop - start) for start, stop in itertools.pairwise(places)]
    assert frozen(lambda: [batch for part in parts for batch in part.to_batches()], backtest=30).digest == frozen(backtest=30).digest


def test_digest_does_not_depend_on_batches_beyond_the_sample() -> None:
    values = np.random.default_rng(1).normal(size=700_000)

    def cut(rows: int) -> FrozenBaseline:
        parts = [pa.record_batch({"x": values[start : start + rows]}) for start in range(0, len(values), rows)]
        return frozen(lambda: parts, bins=256)

    assert len({cut(rows).digest for rows in (700_000, 65_536, 130_001)}) == 1


def test_sampled_edges_cut_into_nearly_equal_masses() -> None:
    values = np.random.default_rng(1).normal(size=700_000)
    counts = frozen(lambda: [pa.record_batch({"x": values})], bins=100).columns[0].sketch.counts
    masses = counts[counts > 1] / len(values)
    assert len(masses) == 100
    assert masses.min() > 0.009
    assert masses.max() < 0.011


def test_column_absent_from_some_batches_counts_as_nulls() -> None:
    whole = pa.record_batch({"x": np.arange(300.0), "y": np.arange(300.0)})
    baseline = frozen(lambda: [whole, whole.select(["x"])])
    assert {column.name: column.sketch.nulls for column in baseline.columns} == {"x": 0, "y": 300}


def test_every_flipped_byte_of_a_baseline_is_noticed() -> None:
    data = small().data
    for place in range(len(data)):
        with pytest.raises(SketchError):
            FrozenBaseline.from_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])


def test_truncation_of_a_baseline_at_any_length_is_noticed() -> None:
    data = small().data
    for length in range(len(data)):
        with pytest.raises(SketchError):
            FrozenBaseline.from_bytes(data[:length])


@settings(STEADY, max_examples=300)
@given(st.data())
def test_damage_behind_a_right_checksum_never_raises_anything_else(data: st.DataObject) -> None:
    payload = bytearray(unpack(frozen().data))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=2)):
        payload[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SketchError):
        FrozenBaseline.from_bytes(pack(bytes(payload)))


def test_sketch_of_a_table_is_not_a_baseline() -> None:
    out = Writer()
    out.text("table")
    with pytest.raises(SketchError, match="not a baseline"):
        FrozenBaseline.from_bytes(out.finish())


def column_of(write: Callable[[Writer], None]) -> bytes:
    out = Writer()
    out.text("baseline")
    out.integer(100)
    out.integer(0)
    out.floats(np.zeros(1))
    out.texts([])
    out.integer(1)
    out.text("x")
    write(out)
    return out.finish()


def numeric(out: Writer, *, thresholds: int = 0, edges: tuple[float, ...] = (0.0, 1.0), counts: int = 3) -> None:
    for value in (0, 0, 0):
        out.integer(value)
    out.counts(np.zeros(counts, dtype=np.int64))
    out.integer(0)
    out.texts([])
    out.floats(np.zeros(thresholds))
    out.floats(np.array(edges))


def test_well_formed_column_is_read() -> None:
    assert FrozenBaseline.from_bytes(column_of(numeric)).columns[0].name == "x"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda out: out.integer(3), "unknown kind"),
        (lambda out: numeric(out, thresholds=1), "thresholds without values"),
        (lambda out: numeric(out, edges=(1.0, 0.0)), "strictly increasing"),
        (lambda out: numeric(out, counts=4), "other bins than its own"),
    ],
    ids=["kind", "thresholds", "edges", "counts"],
)
def test_column_that_contradicts_itself_is_refused(write: Callable[[Writer], None], message: str) -> None:
    with pytest.raises(SketchError, match=message):
        FrozenBaseline.from_bytes(column_of(write))


def test_untested_column_without_a_reason_is_refused() -> None:
    out = Writer()
    out.text("baseline")
    out.integer(100)
    out.integer(0)
    out.floats(np.zeros(1))
    out.texts(["lonely"])
    out.integer(0)
    with pytest.raises(SketchError, match="without a reason"):
        FrozenBaseline.from_bytes(out.finish())


def test_huge_announced_lengths_end_quickly() -> None:
    with pytest.raises(SketchError):
        FrozenBaseline.from_bytes(pack(b"t" + struct.pack("<I", 8) + b"baseline" + (b"i" + struct.pack("<Q", 2**63)) * 3))
