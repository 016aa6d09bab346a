"""Two worker processes of a Spark cluster give the bytes that one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.config import ObjectWindow, TimeWindow
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.places import places
from driftsonde.core.readers import open_table
from driftsonde.core.scale import __main__ as submitted
from driftsonde.core.scale.backfill import count_on
from driftsonde.core.scale.building import build_on
from driftsonde.core.scale.runs import OneProcess
from driftsonde.core.scale.spark import Spark
from driftsonde.core.sketch.codec import encode_table

CLUSTER = "local-cluster[2,1,1024]"
LOCAL = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false"}
NOW = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SparkSession]:
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    builder = SparkSession.builder.master(CLUSTER).appName("test").config("spark.log.level", "ERROR")
    for name, value in LOCAL.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers, categories, nulls, NaN and infinities, text among numbers, a column that is not everywhere; Parquet and CSV."""
    made = tmp_path_factory.mktemp("accepted")
    for number in range(12):
        table = rows_of(number)
        if number % 5 == 4:
            pacsv.write_csv(table, made / f"{number:02}.csv")
        else:
            pq.write_table(table, made / f"{number:02}.parquet", row_group_size=20_000)
    return made


def rows_of(seed: int, shift: float = 0.0, rows: int = 30_000) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows += 500 * seed
    amount = rng.lognormal(3 + shift, 1, rows)
    amount[rng.random(rows) < 0.02] = np.nan
    amount[::5_000] = np.inf
    columns = {
        "amount": pa.array(amount, mask=rng.random(rows) < 0.03), "few": pa.array(rng.integers(0, 6, rows)),
        "city": pa.array([["Berlin", "Paris", "Rome", None][place] for place in rng.integers(0, 4, rows)], pa.string()), "zip": pa.array(rng.integers(0, 15_000, rows)),
        "at": pa.array((np.datetime64("2026-01-01") + rng.integers(0, 40 * 86_400, rows).astype("timedelta64[s]")).astype("datetime64[us]")),
    }  # fmt: skip
    if seed % 4 == 3:
        columns["amount"] = pa.array([f"{value:.3f}" if number % 700 else "n/a" for number, value in enumerate(amount)])
        del columns["few"]
    return pa.table(columns)


OPTIONS = BuildOptions(categorical=("zip",), backtest=("at", timedelta(days=1)))


@pytest.fixture(scope="module")
def expected(folder: Path) -> FrozenBaseline:
    with places() as opened:
        found = [opened.source(item) for item in opened.find(str(folder))]
        return build(lambda: (batch for source in found for batch in open_table(source, text=OPTIONS.categorical).batches()), OPTIONS)[0]


@pytest.mark.parametrize("runs", [2, 5, 12])
def test_cluster_builds_the_bytes_of_one_process_whatever_the_partitions(
    cluster: SparkSession, folder: Path, expected: FrozenBaseline, runs: int
) -> None:
    engine = Spark(cluster)
    with places() as opened:
        built, _ = build_on(engine, opened.find(str(folder)), OPTIONS, runs=runs)
    assert built.data == expected.data
    assert len(engine.workers) >= 2
    assert not any(worker.endswith(f":{os.getpid()}") for worker in engine.workers)
    assert expected.rows > 300_000  # more than the sample holds, so that its choice matters
    assert expected.by_name["amount"].sketch.invalid > 12


@pytest.mark.parametrize("window", [ObjectWindow(), TimeWindow(by="time", column="at", size=timedelta(days=1))], ids=["object", "time"])
def test_cluster_backfills_the_sketches_of_one_process_whatever_the_partitions(
    cluster: SparkSession, folder: Path, expected: FrozenBaseline, window: ObjectWindow | TimeWindow, tmp_path: Path
) -> None:
    (broken := tmp_path / "broken.parquet").write_bytes(b"PAR1 cut off")
    with places() as opened:
        objects = [*opened.find(str(folder)), *opened.find(str(broken))]
        alone = count_on(OneProcess(opened), objects, expected, window, NOW, runs=1)
        assert list(alone.unreadable) == [str(broken)]
        for runs in (3, 13):
            engine = Spark(cluster)
            counted = count_on(engine, objects, expected, window, NOW, runs=runs)
            assert [(name, encode_table(table)) for name, table in counted.windows] == [
                (name, encode_table(table)) for name, table in alone.windows
            ]
            assert (counted.unreadable, counted.invalid_times) == (alone.unreadable, alone.invalid_times)
            assert len(engine.workers) >= 2


def test_object_that_cannot_be_read_is_named_and_not_a_stack_of_java(cluster: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 cut off")
    with places() as opened, pytest.raises(DriftsondeError, match=r"^[^\n]*broken\.parquet[^\n]*$"):
        build_on(Spark(cluster), opened.find(str(tmp_path)), BuildOptions())


def submit(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    options = [text for name, value in LOCAL.items() for text in ("--conf", f"{name}={value}")]
    program = Path(sys.executable).parent / "spark-submit"
    return subprocess.run(
        [str(program), "--master", CLUSTER, *options, str(submitted.__file__), *arguments],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def here(*arguments: str) -> str:
    command = [sys.executable, "-m", "driftsonde.core.scale", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_submitted_commands_write_the_files_of_the_local_ones(tmp_path: Path) -> None:
    accepted, drops, built, same = (tmp_path / name for name in ("accepted", "drops", "built.dsk", "same.dsk"))
    accepted.mkdir()
    drops.mkdir()
    for number in range(3):
        pq.write_table(rows_of(number, rows=5_000), accepted / f"{number}.parquet")
    for number in range(4):
        pq.write_table(rows_of(4 * number, shift=0.0 if number < 3 else 1.0, rows=5_000), drops / f"{number}.parquet")
    options = ("baseline", "build", str(accepted), "--categorical", "zip", "--backtest", "at:1d")
    done = submit(*options, "--engine", "spark", "--out", str(built))
    assert done.returncode == 0, done.stderr
    here(*options, "--out", str(same))
    assert built.read_bytes() == same.read_bytes()
    lines = tmp_path / "lines.jsonl"
    done = submit("backfill", str(drops), "--baseline", str(built), "--engine", "spark", "--out", str(lines))
    assert done.returncode == 0, done.stderr
    assert "worker processes" in done.stdout  # spark-submit gives Python one stream for both
    expected = here("backfill", str(drops), "--baseline", str(built))
    assert lines.read_text() == expected
    columns = [json.loads(line)["columns"] for line in expected.splitlines()]
    assert [window["amount"]["status"] == "drift" for window in columns] == [False, False, False, True]
