"""The public surface takes any kind of batch, and says clearly what it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from driftsonde.core.api import Baseline, Parameters, Sketch, judge, to_batches
from driftsonde.core.sketch.codec import SketchError

ROWS = 1_000
FRAME = pd.DataFrame({
    "x": np.random.default_rng(0).normal(size=ROWS),
    "c": np.random.default_rng(1).choice(["a", "b"], ROWS),
    "b": np.random.default_rng(2).random(ROWS) < 0.5,
})  # fmt: skip
TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)
NUMBERS = np.random.default_rng(3).normal(size=(ROWS, 2))


class Exporter:
    """Only Arrow's C stream interface, as duckdb's relations have."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class ArrayExporter:
    """Only Arrow's C array interface."""

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return TABLE.combine_chunks().to_batches()[0].__arrow_c_array__(requested_schema)


KINDS: dict[str, Callable[[], Any]] = {
    "table": lambda: TABLE,
    "record batch": lambda: TABLE.combine_chunks().to_batches()[0],
    "pandas": lambda: FRAME,
    "pandas categories": lambda: FRAME.assign(c=FRAME["c"].astype("category")),
    "polars": lambda: pl.from_arrow(TABLE),
    "exporter": Exporter,
    "list of batches": lambda: TABLE.to_batches(max_chunksize=77),
    "list of frames": lambda: [FRAME[:500], FRAME[500:]],
    "iterator": lambda: iter(TABLE.to_batches(max_chunksize=77)),
    "generator of frames": lambda: (FRAME[start : start + 100].reset_index(drop=True) for start in range(0, ROWS, 100)),
    "reader": lambda: TABLE.to_reader(max_chunksize=77),
    "function": lambda: lambda: TABLE.to_batches(max_chunksize=77),
}


@pytest.mark.parametrize("kind", KINDS)
def test_baseline_is_the_same_from_any_kind_of_data(kind: str) -> None:
    assert Baseline.build(KINDS[kind]()).digest == Baseline.build(TABLE).digest


@pytest.mark.parametrize("kind", ["table", "record batch", "pandas", "pandas categories", "polars", "exporter", "array exporter", "reader"])
def test_sketch_is_the_same_from_any_kind_of_batch(kind: str) -> None:
    baseline = Baseline.build(TABLE)
    batch = ArrayExporter() if kind == "array exporter" else KINDS[kind]()
    assert baseline.sketch().update(batch).to_bytes() == baseline.sketch().update(TABLE).to_bytes()


def test_numpy_takes_names_and_equals_the_table() -> None:
    table = pa.table({"p": NUMBERS[:, 0], "q": NUMBERS[:, 1]})
    baseline = Baseline.build(NUMBERS, names=["p", "q"])
    assert baseline.digest == Baseline.build(table).digest
    assert baseline.digest == Baseline.build([NUMBERS[:10], NUMBERS[10:]], names=["p", "q"]).digest
    assert baseline.sketch().update(NUMBERS, names=["p", "q"]).to_bytes() == baseline.sketch().update(table).to_bytes()


def test_numpy_integers_and_missing_values_are_counted() -> None:
    data = np.where(np.arange(600).reshape(300, 2) % 10 == 0, np.nan, 1.0)
    sketch = Baseline.build(data, names=["p", "q"]).sketch().update(np.ones((5, 2), dtype=np.int32), names=["p", "q"])
    assert sketch.baseline.columns[0].sketch.nulls == 60
    assert sketch.table.columns["p"].valid == 5


@pytest.mark.parametrize(
    ("data", "names"),
    [(NUMBERS, None), (NUMBERS, ["p"]), (NUMBERS[:, 0], ["p"]), (np.zeros((2, 2, 2)), ["p", "q"])],
    ids=["no names", "too few names", "one dimension", "three dimensions"],
)
def test_numpy_of_another_shape_is_refused(data: Any, names: list[str] | None) -> None:
    with pytest.raises(ValueError, match="a numpy batch needs shape"):
        list(to_batches(data, names=names))


@pytest.mark.parametrize("data", [None, 7, "text", {"x": [1]}, [[1, 2]]], ids=repr)
def test_data_of_no_known_kind_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="not a batch"):
        list(to_batches(data))


def test_iterator_whose_types_change_is_spooled() -> None:
    def frames() -> Iterator[pd.DataFrame]:
        yield pd.DataFrame({"k": range(300)})
        yield pd.DataFrame({"k": [0.5, None] * 150})
        yield pd.DataFrame({"k": range(300)})

    assert Baseline.build(frames()).digest == Baseline.build(list(frames())).digest
    assert Baseline.build(frames()).columns[0].sketch.nulls == 150


@pytest.mark.parametrize("data", [[], iter([]), TABLE.slice(0, 199)], ids=["list", "iterator", "few rows"])
def test_too_few_rows_make_no_baseline(data: Any) -> None:
    with pytest.raises(ValueError, match="at least 200 rows"):
        Baseline.build(data)


def test_unknown_columns_are_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no column 'nope'; columns are b, c, x"):
        Baseline.build(TABLE, categorical=["nope"])
    with pytest.raises(ValueError, match="there is no column 'nope'"):
        Baseline.build(TABLE, only=["x", "nope"])


def test_data_with_nothing_to_watch_is_refused() -> None:
    with pytest.raises(ValueError, match="no column can be watched: at: a time; not tested"):
        Baseline.build(pa.table({"at": pa.array(range(300), pa.timestamp("s"))}))


def test_two_columns_of_one_name_are_refused() -> None:
    twice = pa.table([pa.array(range(300)), pa.array(range(300))], names=["a", "a"])
    with pytest.raises(ValueError, match="the column 'a' is there twice"):
        Baseline.build(twice)
    with pytest.raises(ValueError, match="the column 'a' is there twice"):
        Baseline.build(twice.select([0])).sketch().update(twice)


def test_watched_columns_follow_only_and_ignore() -> None:
    assert list(Baseline.build(TABLE, only=["x", "c"]).by_name) == ["x", "c"]
    ignoring = Baseline.build(TABLE, ignore=["x"])
    assert list(ignoring.by_name) == ["c", "b"]
    assert ignoring.untested == {"x": "ignored by configuration"}
    assert ignoring.sketch().update(TABLE).table.new == frozenset()


def test_declared_numbers_are_levels() -> None:
    codes = pa.table({"zip": [10_115, 80_331] * 150})
    assert [column.kind for column in Baseline.build(codes).columns] == ["numeric"]
    declared = Baseline.build(codes, categorical=["zip"])
    assert declared.columns[0].kind == "categorical"
    assert declared.sketch().update(pa.table({"zip": [10_115.0, 1.0]})).table.columns["zip"].counts.tolist() == [1, 0, 0, 1]


def test_identifiers_are_not_tested_unless_declared() -> None:
    identifiers = pa.table({"id": [f"user-{index}" for index in range(500)], "x": range(500)})
    assert Baseline.build(identifiers).untested["id"].startswith("an identifier: 100% of its values occur once")
    assert "id" in Baseline.build(identifiers, categorical=["id"]).by_name
    many = pa.table({"id": [f"user-{index % 10_001}" for index in range(200_020)], "x": range(200_020, 0, -1)})
    assert Baseline.build(many).untested["id"].startswith("an identifier: more than 10,000 levels")


def test_text_after_an_all_null_start_is_still_text() -> None:
    parts = [pa.table({"c": pa.nulls(300)}), pa.table({"c": ["a", "b"] * 150})]
    column = Baseline.build(parts).columns[0]
    assert (column.kind, column.sketch.nulls) == ("categorical", 300)


def test_numbers_that_only_came_as_text_get_bins() -> None:
    parts = [pa.table({"x": [float("nan")] * 300}), pa.table({"x": [str(index) for index in range(300)]})]
    column = Baseline.build(parts).columns[0]
    assert (column.kind, column.sketch.valid, column.sketch.counts[[0, -1]].tolist()) == ("numeric", 300, [0, 0])


@pytest.mark.parametrize("rows", [200, 210, 1_000])
@pytest.mark.parametrize("windows", [30, 37])
def test_backtest_has_as_many_windows_as_asked(rows: int, windows: int) -> None:
    assert Baseline.build(TABLE.slice(0, rows), backtest=windows).windows == windows


@pytest.mark.parametrize("windows", [0, 29, -5])
def test_backtest_of_too_few_windows_is_refused(windows: int) -> None:
    with pytest.raises(ValueError, match="at least 30 windows"):
        Baseline.build(TABLE, backtest=windows)


DAYS = pd.date_range("2026-01-01", periods=40, freq="D").repeat(25)


@pytest.mark.parametrize(
    "times",
    [DAYS, DAYS.tz_localize("UTC"), DAYS.strftime("%Y-%m-%d"), DAYS.strftime("%Y-%m-%dT%H:%M:%SZ"), DAYS.strftime("%Y-%m-%d %H:%M:%S.%f"),
     DAYS.strftime("%Y-%m-%dT%H:%M:%S+00:00").astype("category"), DAYS.as_unit("s").astype("int64"), DAYS.as_unit("s").astype("int64").astype(float)],
    ids=["time stamps", "with a zone", "days as text", "text in UTC", "text with a space", "categories", "seconds", "seconds as floats"],
)  # fmt: skip
def test_backtest_by_time_reads_times_of_any_kind(times: Any) -> None:
    frame = FRAME.assign(at=times)
    assert Baseline.build(frame, ignore=["at"], backtest=("at", timedelta(days=1))).windows == 40


def test_backtest_by_time_without_usable_times_is_refused() -> None:
    with pytest.raises(ValueError, match="the baseline gives 0"):
        Baseline.build(FRAME.assign(at="yesterday"), backtest=("at", timedelta(days=1)))
    with pytest.raises(ValueError, match="there is no column 'nope'"):
        Baseline.build(FRAME, backtest=("nope", timedelta(days=1)))


def test_baseline_and_sketch_survive_the_round_trip() -> None:
    baseline = Baseline.from_bytes(Baseline.build(TABLE).data)
    sketch = baseline.sketch().update(TABLE)
    assert isinstance(baseline, Baseline)
    assert baseline.sketch(sketch.to_bytes()).to_bytes() == sketch.to_bytes()
    assert sketch.rows == ROWS


def test_damaged_bytes_are_a_sketch_error() -> None:
    with pytest.raises(SketchError):
        Baseline.from_bytes(b"nonsense")
    with pytest.raises(SketchError):
        Baseline.build(TABLE).sketch(b"nonsense")


def test_sketch_of_another_baseline_is_refused() -> None:
    one, other = Baseline.build(TABLE), Baseline.build(TABLE, bins=16)
    with pytest.raises(ValueError, match="belongs to another baseline"):
        one.sketch(other.sketch().to_bytes())
    with pytest.raises(ValueError, match="belongs to another baseline"):
        judge(one, other.sketch())
    with pytest.raises(ValueError, match="different baselines"):
        one.sketch().merge(other.sketch())


def test_merged_sketches_are_the_sketch_of_both() -> None:
    baseline = Baseline.build(TABLE)
    halves = [baseline.sketch().update(TABLE.slice(start, 500)) for start in (0, 500)]
    assert halves[0].merge(halves[1]).to_bytes() == baseline.sketch().update(TABLE).to_bytes()


def test_judging_takes_one_window_or_many() -> None:
    baseline = Baseline.build(TABLE)
    window: Sketch = baseline.sketch().update(FRAME.assign(x=FRAME["x"] + 3))
    assert judge(baseline, window).word == judge(baseline, [baseline.sketch().update(TABLE), window]).word == "drift"
    assert judge(baseline, window, Parameters(min_rows=5_000)).word == "insufficient"
    with pytest.raises(ValueError, match="no window"):
        judge(baseline, [])


def test_running_number_is_listed_not_tested() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"order": np.arange(5_000) + 7, "x": rng.normal(size=5_000)})
    baseline = Baseline.build(frame)
    assert "running number" in baseline.untested["order"]
    assert judge(baseline, baseline.sketch().update(frame.assign(order=frame["order"] + 5_000))).word == "ok"


@pytest.mark.parametrize("text", ["2024-03-01", "2024-03-01T10:00:00Z", "2024-03-01 10:00:00.123+02:00"])
def test_iso_times_as_text_are_not_tested(text: str) -> None:
    frame = pd.DataFrame({"day": [text] * 500, "x": range(500)})
    assert Baseline.build(frame).untested["day"] == "a time; not tested"
