"""The same rows give the same counts, whichever format they are in and whoever wrote them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import zstandard

from driftsonde.core.api import Baseline
from driftsonde.core.columns import row_times
from driftsonde.core.counting import count_by_time, count_object
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.monitoring.window import NO_TIME, starts
from driftsonde.core.readers import LocalSource
from driftsonde.core.sketch.table import TableSketch

ROWS = 3_000


def make_table() -> pa.Table:
    random = np.random.default_rng(0)

    def gaps(values: Any) -> pa.Array:
        return pa.array(values, mask=random.random(ROWS) < 0.1)

    return pa.table({
        "x": gaps(np.round(random.normal(size=ROWS), 6)),  # as many digits as pandas writes
        "k": gaps(random.integers(-5, 50, ROWS)),
        "c": gaps(random.choice(["red", "green", "blue, or so", 'a "quoted" one', "Zürich"], ROWS).astype(object)),
        "b": gaps(random.random(ROWS) < 0.3),
        "new": pa.array(range(ROWS)),
    })  # fmt: skip


TABLE = make_table()
BASELINE = Baseline.build(TABLE.drop_columns(["new"]))


def count(path: Path) -> TableSketch:
    return count_object(BASELINE, LocalSource(path))


def pandas_frame() -> pd.DataFrame:
    frame: pd.DataFrame = TABLE.to_pandas()
    return frame


def json_lines() -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in TABLE.to_pylist())


def csv_bytes() -> bytes:
    out = io.BytesIO()
    pacsv.write_csv(TABLE, out)
    return out.getvalue()


def polars_frame() -> pl.DataFrame:
    frame = pl.from_arrow(TABLE)
    assert isinstance(frame, pl.DataFrame)
    return frame


WRITERS: dict[str, Callable[[Path], object]] = {
    "pandas.parquet": lambda path: pandas_frame().to_parquet(path),
    "pandas.csv": lambda path: pandas_frame().to_csv(path, index=False),
    "pandas.csv.gz": lambda path: pandas_frame().to_csv(path, index=False, compression="gzip"),
    "pandas.csv.zst": lambda path: pandas_frame().to_csv(path, index=False, compression="zstd"),
    "pandas.jsonl": lambda path: pandas_frame().to_json(path, orient="records", lines=True, double_precision=15),
    "pandas.jsonl.gz": lambda path: pandas_frame().to_json(path, orient="records", lines=True, double_precision=15, compression="gzip"),
    "pandas.jsonl.zst": lambda path: pandas_frame().to_json(path, orient="records", lines=True, double_precision=15, compression="zstd"),
    "pyarrow.parquet": lambda path: pq.write_table(TABLE, path, row_group_size=700),
    "pyarrow-v2-zstd.parquet": lambda path: pq.write_table(TABLE, path, data_page_version="2.0", compression="zstd"),
    "pyarrow-nodict.pq": lambda path: pq.write_table(TABLE, path, use_dictionary=False, compression="none"),
    "pyarrow.csv": lambda path: path.write_bytes(csv_bytes()),
    "pyarrow.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_bytes())),
    "pyarrow-two-members.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_bytes()[:999]) + gzip.compress(csv_bytes()[999:])),
    "pyarrow.csv.zst": lambda path: path.write_bytes(zstandard.compress(csv_bytes())),
    "pyarrow-two-frames.csv.zst": lambda path: path.write_bytes(
        zstandard.compress(csv_bytes()[:999]) + zstandard.compress(csv_bytes()[999:])
    ),
    "python.jsonl": lambda path: path.write_bytes(json_lines()),
    "python.ndjson.gz": lambda path: path.write_bytes(gzip.compress(json_lines())),
    "python.json.zst": lambda path: path.write_bytes(zstandard.compress(json_lines())),
    "no-ending-parquet": lambda path: pq.write_table(TABLE, path),
    "no-ending-json": lambda path: path.write_bytes(json_lines()),
    "no-ending-csv": lambda path: path.write_bytes(csv_bytes()),
    "no-ending-gzip": lambda path: path.write_bytes(gzip.compress(csv_bytes())),
    "polars.parquet": lambda path: polars_frame().write_parquet(path),
    "polars.csv": lambda path: polars_frame().write_csv(path),
    "polars.ndjson": lambda path: polars_frame().write_ndjson(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_of_a_format_gives_the_same_counts(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    expected = BASELINE.sketch().update(TABLE).table
    assert count(tmp_path / name) == expected
    assert expected.new == {"new"}


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_told_by_the_header(delimiter: str, ending: str, tmp_path: Path) -> None:
    pandas_frame().to_csv(tmp_path / f"a.{ending}", sep=delimiter, index=False)
    assert count(tmp_path / f"a.{ending}") == BASELINE.sketch().update(TABLE).table


def test_windows_line_ends_and_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + pandas_frame().to_csv(index=False, lineterminator="\r\n").encode())
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json_lines().replace(b"\n", b"\r\n"))
    expected = BASELINE.sketch().update(TABLE).table
    assert count(tmp_path / "a.csv") == expected
    assert count(tmp_path / "a.jsonl") == expected


def test_text_and_categories_of_any_kind_count_alike(tmp_path: Path) -> None:
    encodings = [
        pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string()),
    ]  # fmt: skip
    plain = TABLE.select(["c"])
    expected = BASELINE.sketch().update(plain).table
    for index, kind in enumerate(encodings):
        column = plain["c"].combine_chunks()
        encoded = column.cast(pa.string()).dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column.cast(kind)
        pq.write_table(pa.table({"c": encoded}), tmp_path / f"{index}.parquet")
        assert count(tmp_path / f"{index}.parquet") == expected, kind
        assert BASELINE.sketch().update(pa.table({"c": encoded})).table == expected, kind


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32(), pa.decimal32(5, 1), pa.decimal128(8, 2), pa.decimal256(60, 0)],
    ids=str,
)
def test_numbers_of_any_width_count_alike(kind: pa.DataType, tmp_path: Path) -> None:
    values = [None if value is None else abs(value) for value in TABLE["k"].to_pylist()]
    convert = Decimal if pa.types.is_decimal(kind) else np.float16 if pa.types.is_float16(kind) else int
    expected = BASELINE.sketch().update(pa.table({"k": values})).table
    pq.write_table(pa.table({"k": pa.array([None if value is None else convert(value) for value in values], kind)}), tmp_path / "a.parquet")
    assert count(tmp_path / "a.parquet") == expected


def test_times_and_nested_values_in_a_number_column_are_invalid(tmp_path: Path) -> None:
    for index, array in enumerate([
        pa.array([1, None], pa.timestamp("us", tz="UTC")), pa.array([1, None], pa.date32()), pa.array([[1.0], None]),
        pa.array([{"a": 1}, None]), pa.array([b"1", None]),
    ]):  # fmt: skip
        pq.write_table(pa.table({"x": array}), tmp_path / f"{index}.parquet")
        found = count(tmp_path / f"{index}.parquet").columns["x"]
        assert (found.nulls, found.invalid, found.valid) == (1, 1, 0), array.type


def test_times_and_nested_columns_are_not_watched(tmp_path: Path) -> None:
    times = pa.array(range(ROWS), pa.timestamp("s"))
    nested = pa.array([{"a": index} for index in range(ROWS)])
    wide = TABLE.append_column("at", times).append_column("day", times.cast(pa.date32())).append_column("n", nested)
    baseline = Baseline.build(wide)
    assert {"at", "day", "n"} <= set(baseline.untested)
    pq.write_table(wide, tmp_path / "a.parquet")
    assert count_object(baseline, LocalSource(tmp_path / "a.parquet")).new == frozenset()


def test_index_that_pandas_writes_is_not_watched(tmp_path: Path) -> None:
    frame = pandas_frame().iloc[::-1]
    frame[frame["k"] > 0].to_parquet(tmp_path / "a.parquet")
    baseline = Baseline.build(pq.read_table(tmp_path / "a.parquet"))
    assert baseline.untested == {"__index_level_0__": "the index of a pandas frame; not tested"}


def test_numbers_as_text_are_parsed_and_words_are_invalid(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,k\n1.5,7\n n/a ,8\n,9\n-inf,1e3\n 2 ,NaN\n+.5,0x10\n")
    found = count(tmp_path / "a.csv")
    assert (found.columns["x"].valid, found.columns["x"].nulls, found.columns["x"].invalid) == (3, 1, 2)
    assert (found.columns["k"].valid, found.columns["k"].nulls, found.columns["k"].invalid) == (4, 1, 1)


def test_leading_zeros_stay_where_the_column_is_text(tmp_path: Path) -> None:
    zips = ["01234", "00501", "90210"] * 200
    baseline = Baseline.build(pa.table({"zip": zips}))
    (tmp_path / "a.csv").write_text("zip\n" + "\n".join(zips) + "\n")
    found = count_object(baseline, LocalSource(tmp_path / "a.csv")).columns["zip"]
    assert found.counts.tolist() == [200, 200, 200, 0, 0]


def test_thousand_columns_are_read(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    table = pa.table({f"c{index:04}": random.normal(size=250) for index in range(1_000)})
    baseline = Baseline.build(table, bins=16)
    pq.write_table(table, tmp_path / "a.parquet")
    pacsv.write_csv(table, tmp_path / "a.csv")
    expected = baseline.sketch().update(table).table
    assert len(expected.columns) == 1_000
    assert count_object(baseline, LocalSource(tmp_path / "a.parquet")) == expected
    assert count_object(baseline, LocalSource(tmp_path / "a.csv")) == expected


@pytest.mark.parametrize("name", ["dots.in.name", "spaces in name", "ümlaut", 'quote"d', "semi;colon"])
def test_odd_column_names_are_read(name: str, tmp_path: Path) -> None:
    table = pa.table({name: TABLE["x"], "k": TABLE["k"]})
    baseline = Baseline.build(table)
    expected = baseline.sketch().update(table).table
    pq.write_table(table, tmp_path / "a.parquet")
    pacsv.write_csv(table, tmp_path / "a.csv")
    assert count_object(baseline, LocalSource(tmp_path / "a.parquet")) == expected
    assert count_object(baseline, LocalSource(tmp_path / "a.csv")) == expected


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_object_without_a_wanted_column_still_has_rows(name: str, tmp_path: Path) -> None:
    other = pa.table({"other": range(10), "more": range(10)})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(other, path)
    elif name == "a.csv":
        pacsv.write_csv(other, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in other.to_pylist()))
    found = count(path)
    assert (found.rows, len(found.columns), found.new) == (10, 0, frozenset({"other", "more"}))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_object_with_columns_and_no_rows_is_empty(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(TABLE.slice(0, 0), path)
    else:
        path.write_text("x,k\n" if name == "a.csv" else "\n\n")
    assert (count(path).rows, count(path).bad_rows) == (0, 0)


def by_hour(times: Any) -> Any:
    return starts(times, timedelta(hours=1))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_rows_are_counted_into_the_window_of_their_time(name: str, tmp_path: Path) -> None:
    frame = pandas_frame().assign(at=pd.date_range("2026-01-01", periods=ROWS, freq="min"))
    frame.loc[frame.index[:5], "at"] = pd.NaT
    if name == "a.parquet":
        frame.to_parquet(tmp_path / name)
    elif name == "a.csv":
        frame.to_csv(tmp_path / name, index=False)
    else:
        frame.to_json(tmp_path / name, orient="records", lines=True, date_format="iso", double_precision=15)
    windows, latest, unusable = count_by_time(BASELINE, LocalSource(tmp_path / name), "at", by_hour)
    assert (len(windows), latest, unusable) == (50, pd.Timestamp("2026-01-03 01:59").value // 1_000, 5)
    assert [windows[start].rows for start in sorted(windows)] == [55] + [60] * 49
    later = BASELINE.sketch().update(TABLE.slice(5)).table
    assert sum(windows.values(), BASELINE.empty_sketch()).columns == later.columns


def test_object_without_its_time_column_has_no_window(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    assert count_by_time(BASELINE, LocalSource(tmp_path / "a.parquet"), "at", by_hour) == ({}, -1, ROWS)


def test_bad_rows_go_to_the_last_window(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"at": "2026-01-01T00:30:00Z", "x": 1}\nbroken\n{"at": "2026-01-01T01:30:00Z", "x": 1}\n')
    windows, _, _ = count_by_time(BASELINE, LocalSource(tmp_path / "a.jsonl"), "at", by_hour)
    assert [windows[start].bad_rows for start in sorted(windows)] == [0, 1]
    (tmp_path / "b.jsonl").write_text("broken\n" * 3)
    with pytest.raises(UnreadableObject, match=r"b\.jsonl: none of its 3 rows can be parsed"):
        count_by_time(BASELINE, LocalSource(tmp_path / "b.jsonl"), "at", by_hour)


SECOND = 1_767_225_600  # 2026-01-01


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([SECOND, None], pa.timestamp("s")), SECOND * 1_000_000),
        (pa.array([SECOND * 1_000, None], pa.timestamp("ms", tz="Europe/Berlin")), SECOND * 1_000_000),
        (pa.array([SECOND * 10**9 + 999, None], pa.timestamp("ns")), SECOND * 1_000_000),
        (pa.array([SECOND // 86_400, None], pa.date32()), SECOND * 1_000_000),
        (pa.array([SECOND * 1_000, None], pa.date64()), SECOND * 1_000_000),
        (pa.array([SECOND, None], pa.uint32()), SECOND * 1_000_000),
        (pa.array([SECOND + 0.25, float("nan")]), SECOND * 1_000_000 + 250_000),
        (pa.array(["2026-01-01", "2026-02-30"]), SECOND * 1_000_000),
        (pa.array([" 2026-01-01T01:00:00+01:00 ", "soon"]), SECOND * 1_000_000),
        (pa.array(["2026-01-01T00:00:00.123456789Z", ""], pa.string_view()), SECOND * 1_000_000 + 123_456),
        (pa.array(["2026-01-01 00:00:00", None]).dictionary_encode(), SECOND * 1_000_000),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_time_of_any_kind_is_read_in_microseconds(array: pa.Array, expected: int) -> None:
    assert row_times(array).tolist() == [expected, NO_TIME]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([2**60], pa.timestamp("s")), pa.array([2**63 - 1], pa.timestamp("us")), pa.array([2**64 - 1], pa.uint64()), pa.array([1e300]),
        pa.array([SECOND * 1_000]), pa.array(["0001-01-01T00:00:00+14:00"]), pa.array([1], pa.time32("s")), pa.array([1], pa.duration("s")),
        pa.array([[1]]), pa.array([True]), pa.nulls(1),
    ],
    ids=lambda array: str(array.type),
)  # fmt: skip
def test_what_is_no_time_of_this_calendar_is_none(array: pa.Array) -> None:
    assert row_times(array).tolist() == [NO_TIME]
