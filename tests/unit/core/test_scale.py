"""Runs that are counted apart and merged give the bytes of one process, whatever their number and whatever the data is like."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from driftsonde.core.aws.session import aws_client
from driftsonde.core.building import BuildOptions, build
from driftsonde.core.config import ObjectWindow, RowsWindow, TimeWindow
from driftsonde.core.errors import DriftsondeError, RetryableError
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.places import Places, places
from driftsonde.core.readers import open_table
from driftsonde.core.scale.backfill import count_on
from driftsonde.core.scale.building import build_on
from driftsonde.core.scale.runs import OneProcess, Run, Work, attempt, cut, finished
from driftsonde.core.sketch.codec import encode_table

NOW = datetime(2026, 10, 1, tzinfo=UTC)


@dataclass
class AnyOrder:
    """Does runs in an order of its own, as a cluster does, and gives the results in theirs."""

    places: Places
    seed: int
    slots: int = 2

    def map(self, work: Work, runs: Sequence[Run]) -> list[bytes]:
        order = list(range(len(runs)))
        random.Random(self.seed).shuffle(order)
        found = {place: attempt(work, Run.decode(runs[place].encode()), self.places) for place in order}
        return [finished(found[place]) for place in range(len(runs))]


def in_one_process(folder: Path, options: BuildOptions) -> FrozenBaseline:
    with places() as opened:
        sources = [opened.source(found) for found in opened.find(str(folder))]
        return build(lambda: (batch for source in sources for batch in open_table(source, text=options.categorical).batches()), options)[0]


def assert_same_bytes(folder: Path, options: BuildOptions | None = None, runs: Sequence[int] = (2, 5)) -> FrozenBaseline:
    options = options or BuildOptions()
    expected = in_one_process(folder, options)
    with places() as opened:
        for count in runs:
            built, _ = build_on(AnyOrder(opened, seed=count), opened.find(str(folder)), options, runs=count)
            assert built.data == expected.data, f"{count} runs"
    return expected


def write(folder: Path, tables: Sequence[pa.Table]) -> Path:
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number:03}.parquet", row_group_size=max(700, table.num_rows // 3))
    return folder


def mixed(seed: int, rows: int = 2_000) -> pa.Table:
    rng = np.random.default_rng(seed)
    amount = [None if rng.random() < 0.05 else float(value) for value in rng.lognormal(3, 1, rows)]
    amount[0], amount[1] = float("nan"), float("inf")
    return pa.table(
        {
            "amount": pa.array(amount, pa.float64()), "few": rng.integers(0, 5, rows), "city": rng.choice(["Berlin", "Paris", "Rome"], rows),
            "at": pa.array((np.datetime64("2026-01-01T00:00") + rng.integers(0, 60 * 1440, rows).astype("timedelta64[m]")).astype("datetime64[us]")),
        }
    )  # fmt: skip


def test_mixed_columns_give_the_same_bytes_in_any_number_of_runs(tmp_path: Path) -> None:
    baseline = assert_same_bytes(write(tmp_path, [mixed(seed) for seed in range(9)]))
    assert {column.kind for column in baseline.columns} == {"numeric", "categorical"}
    assert baseline.by_name["amount"].sketch.nulls
    assert baseline.by_name["amount"].sketch.invalid == 9


@pytest.mark.parametrize("backtest", [40, ("at", timedelta(days=1))])
def test_back_test_gives_the_same_thresholds_in_any_number_of_runs(tmp_path: Path, backtest: int | tuple[str, timedelta]) -> None:
    baseline = assert_same_bytes(write(tmp_path, [mixed(seed, 1_000) for seed in range(5)]), BuildOptions(backtest=backtest), runs=(3,))
    assert baseline.windows >= 40


def test_sample_of_more_rows_than_are_kept_is_the_same_in_any_number_of_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tables = [pa.table({"x": rng.normal(size=130_000), "y": rng.normal(size=130_000)}) for _ in range(5)]
    for number, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    assert_same_bytes(tmp_path, runs=(3, 5))


def test_column_is_what_its_first_value_says_though_a_later_run_says_otherwise(tmp_path: Path) -> None:
    rng, texts = np.random.default_rng(2), ["7", "8", "x"]
    nothing = pa.table({"a": pa.nulls(500), "b": rng.normal(size=500), "c": rng.normal(size=500)})
    worded = pa.table({"a": rng.choice(texts, 500), "b": rng.normal(size=500), "c": pa.array(rng.choice(texts, 500))})
    numbered = pa.table({"a": rng.integers(0, 9, 500), "b": pa.array(map(str, rng.normal(size=500))), "c": rng.integers(0, 9, 500)})
    baseline = assert_same_bytes(write(tmp_path, [nothing, numbered, worded, numbered, nothing]))
    assert [baseline.by_name[name].kind for name in "abc"] == ["numeric"] * 3
    other = tmp_path / "other"
    other.mkdir()
    assert assert_same_bytes(write(other, [worded, numbered, nothing, worded, numbered])).by_name["a"].kind == "categorical"


def test_wide_run_of_other_types_keeps_no_smaller_sample_than_all_rows_need(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names = [f"w{number}" for number in range(60)]  # 60 numeric columns would leave room for fewer rows than one does
    texts = pa.table({"x": rng.normal(size=80_000)} | {name: rng.choice(["a", "b"], 80_000) for name in names})
    numbers = pa.table({"x": rng.normal(size=80_000)} | {name: rng.integers(0, 2, 80_000) for name in names})
    for number, table in enumerate([texts, numbers, numbers]):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    assert_same_bytes(tmp_path, runs=(3,))


def test_declared_column_with_more_levels_than_are_remembered_has_the_same_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    tables = [pa.table({"zip": rng.integers(0, 14_000, 6_000), "x": rng.normal(size=6_000)}) for _ in range(4)]
    crowd = pa.table({"zip": rng.permutation(20_000), "x": rng.normal(size=20_000)})
    baseline = assert_same_bytes(write(tmp_path, [*tables[:2], crowd, *tables[2:]]), BuildOptions(categorical=("zip",)))
    assert not baseline.by_name["zip"].tests_outside
    other = tmp_path / "other"
    other.mkdir()
    assert_same_bytes(write(other, [crowd, *tables]), BuildOptions(categorical=("zip",)))


def test_running_number_is_seen_across_runs_and_so_is_where_it_breaks(tmp_path: Path) -> None:
    def tables(order: Sequence[int]) -> list[pa.Table]:
        return [pa.table({"id": np.arange(600 * n, 600 * n + 600), "x": np.random.default_rng(n).normal(size=600)}) for n in order]

    assert "running number" in assert_same_bytes(write(tmp_path, tables([0, 1, 2, 3]))).untested["id"]
    other = tmp_path / "other"
    other.mkdir()
    assert "id" in assert_same_bytes(write(other, tables([0, 2, 1, 3]))).by_name


def test_text_that_is_read_for_its_rows_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(5):
        pacsv.write_csv(mixed(number, 900), tmp_path / f"{number}.csv")
    (tmp_path / "9.jsonl").write_text("".join(f'{{"amount": {n}, "few": "x", "city": null}}\n' for n in range(300)))
    (tmp_path / "9.csv").write_text("amount,few,city,at\n1.5,2,Rome,\nonly two,3\nno,1,Rome,\n")
    assert assert_same_bytes(tmp_path).by_name["amount"].sketch.invalid > 1


def test_object_that_cannot_be_read_ends_the_build_with_its_name(tmp_path: Path) -> None:
    write(tmp_path, [mixed(seed) for seed in range(3)])
    (tmp_path / "001.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with places() as opened, pytest.raises(DriftsondeError, match=r"001\.parquet"):
        build_on(OneProcess(opened), opened.find(str(tmp_path)), BuildOptions())


def test_what_may_work_the_next_time_is_raised_for_the_engine_to_try_again() -> None:
    def away(_run: Run, _places: Places) -> bytes:
        raise RetryableError("S3 is away")

    with places() as opened, pytest.raises(RetryableError):
        attempt(away, Run(()), opened)


def test_runs_hold_every_object_once_and_in_order(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}").write_bytes(b"x" * (1_000_000 if number == 3 else 10))
    with places() as opened:
        found = opened.find(str(tmp_path))
    for count in (1, 2, 7, 20, 50):
        runs = cut(found, count)
        assert [item for run in runs for item in run.objects] == found
        assert 1 <= len(runs) <= min(count, 20)


def windows_of(
    folder: Path, window: ObjectWindow | RowsWindow | TimeWindow, runs: int
) -> tuple[list[tuple[str, bytes]], dict[str, str], int]:
    with places() as opened:
        baseline = in_one_process(folder / "base", BuildOptions())
        counted = count_on(AnyOrder(opened, runs), opened.find(str(folder / "drops")), baseline, window, NOW, runs=runs)
    return [(name, encode_table(table)) for name, table in counted.windows], counted.unreadable, counted.invalid_times


@pytest.fixture
def history(tmp_path: Path) -> Path:
    for name, seeds in (("base", range(3)), ("drops", range(10, 18))):
        (tmp_path / name).mkdir()
        write(tmp_path / name, [mixed(seed) for seed in seeds])
    (tmp_path / "drops" / "004.parquet").write_bytes(b"PAR1 cut off")
    return tmp_path


@pytest.mark.parametrize(
    ("window", "count"),
    [(ObjectWindow(), 8), (RowsWindow(by="rows", size=5_000), 2), (TimeWindow(by="time", column="at", size=timedelta(days=1)), 60)],
    ids=["object", "rows", "time"],
)
def test_backfill_counts_the_same_windows_in_any_number_of_runs(
    history: Path, window: ObjectWindow | RowsWindow | TimeWindow, count: int
) -> None:
    expected = windows_of(history, window, 1)
    assert len(expected[0]) == count
    assert list(expected[1]) == [str(history / "drops/004.parquet")]
    for runs in (3, 8):
        assert windows_of(history, window, runs) == expected


def test_backfill_refuses_a_column_that_makes_far_too_many_windows(history: Path) -> None:
    rng = np.random.default_rng(0)
    write(history / "drops", [pa.table({"at": rng.integers(0, 1_700_000_000, 20_000), "few": rng.integers(0, 5, 20_000)})])
    with pytest.raises(DriftsondeError, match=r"more than 10,000 windows"):
        windows_of(history, TimeWindow(by="time", column="at", size=timedelta(seconds=1)), 2)


def test_objects_in_s3_are_counted_as_files_are(history: Path, emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": emulator, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "111122223333", "AWS_SECRET_ACCESS_KEY": "test",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    async def upload(bucket: str) -> None:
        async with aws_client("s3") as s3:
            await s3.create_bucket(Bucket=bucket)
            for file in sorted((history / "drops").iterdir()):
                await s3.put_object(Bucket=bucket, Key=f"in/{file.name}", Body=file.read_bytes())

    bucket = f"scale-{uuid.uuid4().hex[:12]}"
    asyncio.run(upload(bucket))
    baseline, expected = in_one_process(history / "base", BuildOptions()), windows_of(history, ObjectWindow(), 1)[0]
    with places() as opened:
        opened.write(f"s3://{bucket}/baseline.dsk", baseline.data)
        assert opened.read(f"s3://{bucket}/baseline.dsk") == baseline.data
        counted = count_on(AnyOrder(opened, 1), opened.find(f"s3://{bucket}/in/"), baseline, ObjectWindow(), NOW, runs=3)
        assert list(counted.unreadable) == [f"s3://{bucket}/in/004.parquet"]
    found = [(Path(name).name, encode_table(table)) for name, table in counted.windows]
    assert found == [(Path(name).name, data) for name, data in expected]
