"""Counting that ends in the middle goes on at the last row group, and gives what it would have given at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.counting import count_by_time, count_object
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.readers import LocalSource

GROUPS, GROUP_ROWS = 6, 40_000
HOUR = 3_600_000_000


class Memory:
    """Keeps every checkpoint; ends the counting at one of them.

    Args:
        end: row groups after which it ends.
        stored: what an earlier one kept last.
    """

    def __init__(self, end: int = GROUPS, stored: tuple[int, bytes] | None = None) -> None:
        self.end, self.stored = end, stored

    def load(self) -> tuple[int, bytes] | None:
        return self.stored

    def reached(self, groups: int, counted: Callable[[], bytes]) -> None:
        self.stored = groups, counted()
        if groups >= self.end:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def baseline() -> FrozenBaseline:
    frozen, _ = build(table(5_000, 0).to_batches, BuildOptions(bins=16))
    return frozen


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("groups") / "a.parquet"
    pq.write_table(table(GROUPS * GROUP_ROWS, 1), path, row_group_size=GROUP_ROWS)
    return path


def table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    at = pa.array(random.integers(0, 5 * HOUR, rows), pa.timestamp("us", "UTC"))
    return pa.table({"x": random.normal(size=rows), "c": random.choice(["a", "b"], rows), "at": at})


def by_time(baseline: FrozenBaseline, source: LocalSource, **more: Any) -> Any:
    return count_by_time(baseline, source, "at", lambda times: np.where(times < HOUR, -1, times // HOUR * HOUR), **more)


@pytest.mark.parametrize("count", [count_object, by_time])
@pytest.mark.parametrize("end", range(1, GROUPS))
def test_counting_goes_on_at_the_last_row_group(count: Callable[..., Any], end: int, path: Path, baseline: FrozenBaseline) -> None:
    source = LocalSource(path)
    memory = Memory(end)
    with pytest.raises(KeyboardInterrupt):
        count(baseline, source, checkpoint=memory)
    assert memory.stored is not None
    reads: list[int] = []
    read = source.read
    source.read = lambda start, stop: reads.append(stop - start) or read(start, stop)  # type: ignore[func-returns-value,method-assign]
    assert count(baseline, source, checkpoint=Memory(stored=memory.stored)) == count(baseline, LocalSource(path))
    assert sum(reads) < source.size * (GROUPS - memory.stored[0] + 1) / GROUPS + 1_000_000


def test_checkpoint_that_cannot_be_read_is_no_checkpoint(path: Path, baseline: FrozenBaseline) -> None:
    for count in (count_object, by_time):
        assert count(baseline, LocalSource(path), checkpoint=Memory(stored=(3, b"of another version"))) == count(
            baseline, LocalSource(path)
        )
