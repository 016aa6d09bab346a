"""Columns decoded one at a time, numbers parsed as numbers: the counts are those of reading everything at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftsonde.core.api import Baseline
from driftsonde.core.columns import row_times
from driftsonde.core.counting import count_by_time, count_object
from driftsonde.core.readers import Limits, LocalSource, open_table
from driftsonde.core.readers.ahead import ahead
from driftsonde.core.readers.chunks import BatchChunk
from driftsonde.core.sketch.table import TableSketch, merge

ROWS = 150_000
HOUR = 3_600_000_000


def table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    numbers = {f"x{index}": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.05) for index in range(10)}
    levels = pa.array(random.choice(["a", "b", "c"], rows), mask=random.random(rows) < 0.1)
    times = pa.array(np.sort(random.integers(0, 5 * HOUR, rows)), pa.timestamp("us", "UTC"))
    return pa.table({**numbers, "c": levels, "at": times})


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return Baseline.build(table(5_000, 0), bins=64)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of one row group that is large enough to be decoded column by column."""
    path = tmp_path_factory.mktemp("large") / "a.parquet"
    pq.write_table(table(ROWS, 1), path, row_group_size=ROWS, use_dictionary=["c"], compression="none")
    return path


def test_large_row_group_is_decoded_column_by_column(large: Path) -> None:
    (chunk,) = open_table(LocalSource(large)).chunks()
    assert not isinstance(chunk, BatchChunk)
    assert (chunk.rows, sum(len(piece) for piece in chunk.pieces("x3"))) == (ROWS, ROWS)


def test_columns_one_at_a_time_count_as_the_whole(large: Path, baseline: Baseline) -> None:
    assert count_object(baseline, LocalSource(large)) == baseline.sketch().update(table(ROWS, 1)).table


def test_time_windows_of_a_large_row_group_are_those_of_its_rows(large: Path, baseline: Baseline) -> None:
    windows, latest, invalid = count_by_time(baseline, LocalSource(large), "at", lambda times: times // HOUR * HOUR)
    whole = table(ROWS, 1)
    hours = row_times(whole.column("at").combine_chunks()) // HOUR * HOUR
    expected = {int(hour): baseline.sketch().update(whole.filter(pa.array(hours == hour))).table for hour in np.unique(hours)}
    assert windows == expected
    assert (latest, invalid) == (whole.column("at").cast("int64").to_numpy().max(), 0)


def test_small_row_groups_are_read_together(tmp_path: Path, baseline: Baseline) -> None:
    whole = table(40_000, 2)
    pq.write_table(whole, tmp_path / "a.parquet", row_group_size=500)
    chunks = list(open_table(LocalSource(tmp_path / "a.parquet")).chunks())
    assert sum(chunk.rows for chunk in chunks) == 40_000
    assert len(chunks) <= 3
    assert count_object(baseline, LocalSource(tmp_path / "a.parquet")) == baseline.sketch().update(whole).table


CELLS = ["1.5", "-2", "+.5", "1e3", "", "NaN", "-inf", "1e400", "7e-320"]


@pytest.mark.parametrize("odd", ["n/a", " 3 ", "0x10", "nan(1)", "1e0002"])
@pytest.mark.parametrize("place", [0, 700, 1_999])
def test_cell_that_is_no_number_costs_only_itself(tmp_path: Path, odd: str, place: int) -> None:
    frozen = Baseline.build(pa.table({"x": np.random.default_rng(0).normal(size=1_000), "k": np.arange(1_000.0) % 7}))
    cells = [CELLS[index % len(CELLS)] for index in range(2_000)]
    lines = [f"{cell},{index % 7}" for index, cell in enumerate(cells)]
    alone = [f"{cell},{index % 7}" for index, cell in enumerate([odd])]
    path, single = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text("x,k\n" + "\n".join(lines) + "\n")
    single.write_text("x,k\n" + "\n".join(alone) + "\n")
    limits = Limits(block_bytes=4_096)
    apart = [count_object(frozen, LocalSource(item), limits=limits) for item in (path, single)]
    lines.insert(place, alone[0])
    path.write_text("x,k\n" + "\n".join(lines) + "\n")
    assert count_object(frozen, LocalSource(path), limits=limits) == merge(frozen.layout, apart)


def test_bad_rows_are_counted_once_where_text_is_read_again(tmp_path: Path) -> None:
    frozen = Baseline.build(pa.table({"x": np.random.default_rng(0).normal(size=1_000), "k": np.arange(1_000.0) % 7}))
    (tmp_path / "a.csv").write_text("x,k\n1,2\n1,2,3\n" + "1,2\n" * 3_000 + "word,2\n")
    found: TableSketch = count_object(frozen, LocalSource(tmp_path / "a.csv"), limits=Limits(block_bytes=2_048))
    assert (found.rows, found.bad_rows, found.columns["x"].invalid) == (3_002, 1, 1)


def test_reading_ahead_keeps_the_order_and_runs_in_another_thread() -> None:
    threads: set[int] = set()

    def items() -> Iterator[int]:
        for item in range(25):
            threads.add(threading.get_ident())
            yield item

    assert list(ahead(items())) == list(range(25))
    assert threading.get_ident() not in threads


def test_error_while_reading_ahead_is_raised_here() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ahead(items()))
