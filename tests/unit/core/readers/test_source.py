"""Range reads: few, of a good size, and of nothing that is not wanted."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.errors import GoneError, UnreadableObject
from driftsonde.core.readers import Limits, LocalSource, StoreSource, open_table
from driftsonde.core.readers.limits import MIB
from driftsonde.core.readers.source import RangeFile, Span, coalesce
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.core.testing.objects import MemoryObjects

STEADY = settings(derandomize=True, deadline=None)
DATA = np.random.default_rng(0).bytes(10_000)


class Counting:
    """A source in memory that notes what was read."""

    def __init__(self, data: bytes, name: str = "a.parquet") -> None:
        self.name, self.size, self.verified = name, len(data), False
        self._data = data
        self.spans: list[Span] = []

    def read(self, start: int, stop: int) -> bytes:
        self.spans.append((start, stop))
        return self._data[start:stop]

    def start(self, spans: Sequence[Span]) -> Callable[[], list[bytes]]:
        return lambda: [self.read(*span) for span in spans]

    def touched(self, start: int, stop: int) -> bool:
        return any(begin < stop and end > start for begin, end in self.spans)

    @property
    def total(self) -> int:
        return sum(stop - start for start, stop in self.spans)


def wide_parquet(columns: int = 12, rows: int = 200_000, **options: Any) -> bytes:
    random = np.random.default_rng(1)
    out = pa.BufferOutputStream()
    table = pa.table({f"c{index}": random.normal(size=rows) for index in range(columns)})
    pq.write_table(table, out, **{"use_dictionary": False, "compression": "none", "row_group_size": rows, **options})
    return bytes(out.getvalue())


def test_only_wanted_row_groups_are_read() -> None:
    data = wide_parquet()
    source = Counting(data)
    rows = sum(batch.num_rows for batch in open_table(source, wanted=lambda name: name == "c5").batches())
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    unwanted = [group.column(index) for index in (1, 2, 3, 7, 8, 9)]
    assert rows == 200_000
    assert not any(source.touched(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size) for chunk in unwanted)
    assert source.total < group.column(5).total_compressed_size + 3 * MIB + 4096
    assert len(source.spans) <= 5


@pytest.mark.parametrize("budget", [0, 1, 100_000, MIB, 64 * MIB])
def test_row_groups_beyond_the_budget_are_read_all_the_same(budget: int) -> None:
    data = wide_parquet(3, 150_000, row_group_size=70_000)
    wanted = list(open_table(Counting(data), wanted=lambda name: name != "c1", limits=Limits(prefetch_bytes=budget)).batches())
    assert pa.Table.from_batches(wanted).equals(pq.read_table(io.BytesIO(data), columns=["c0", "c2"]))


def test_gaps_between_chunks_count_against_the_budget() -> None:
    data = wide_parquet(200, 2_000)
    source = Counting(data)
    wanted = {f"c{index}" for index in range(0, 200, 10)}  # 0.3 MB are wanted, in gaps of 0.15 MB each
    limits = Limits(prefetch_bytes=400_000)
    assert sum(batch.num_rows for batch in open_table(source, wanted=lambda name: name in wanted, limits=limits).batches()) == 2_000
    assert max(stop - start for start, stop in source.spans) <= MIB


@settings(STEADY, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50)), max_size=10), st.integers(0, 40), st.integers(1, 100))
def test_joined_ranges_cover_what_was_asked(parts: list[tuple[int, int]], gap: int, longest: int) -> None:
    spans = [(start, start + size) for start, size in parts]
    joined = coalesce(spans, gap=gap, longest=longest)
    covered = {place for start, stop in joined for place in range(start, stop)}
    assert covered >= {place for start, stop in spans for place in range(start, stop)}
    assert joined == sorted(joined)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(joined))
    assert all(0 < stop - start <= longest for start, stop in joined)


@settings(STEADY, max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-11_000, 11_000), st.integers(-1, 3_000)), max_size=12),
    st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 1_000)), max_size=3),
)
def test_range_file_reads_what_a_file_would(steps: list[tuple[int, int, int]], planned: list[tuple[int, int]]) -> None:
    ours, theirs = RangeFile(Counting(DATA), block=700, blocks=2), io.BytesIO(DATA)
    ours.plan([(start, start + size) for start, size in planned])
    for whence, offset, size in steps:
        target = max(0, offset + {0: 0, 1: theirs.tell(), 2: len(DATA)}[whence])
        assert ours.seek(offset, whence) == theirs.seek(target) == ours.tell()
        assert ours.read(size) == theirs.read(size)


def test_range_file_fills_a_buffer_for_decompressors() -> None:
    assert io.BufferedReader(RangeFile(Counting(DATA), block=700)).read() == DATA


def test_local_file_reads_its_ranges(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    source = LocalSource(tmp_path / "a")
    assert (source.size, source.name) == (len(DATA), str(tmp_path / "a"))
    assert source.start([(0, 5), (7, 9)])() == [DATA[:5], DATA[7:9]]


class MemoryStore:
    """The read side of an object store; notes how many reads ran at once."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.pins: set[tuple[str | None, str | None]] = set()

    async def stat(self, bucket: str, key: str, *, version: str | None = None) -> Any:
        raise NotImplementedError

    async def list(self, bucket: str, prefix: str) -> Any:
        raise NotImplementedError

    async def read(self, bucket: str, key: str, start: int, stop: int, *, version: str | None = None, etag: str | None = None) -> bytes:
        if key == "gone":
            raise GoneError("gone")
        self.pins.add((version, etag))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return DATA[start:stop]


async def test_object_is_read_from_a_thread_a_few_ranges_at_a_time() -> None:
    store = MemoryStore()
    source = StoreSource(store, asyncio.get_running_loop(), "bucket", "key", len(DATA), version="v1", etag="e1")  # type: ignore[arg-type]
    spans = [(start, start + 100) for start in range(0, 2_000, 100)]
    assert source.name == "s3://bucket/key"
    assert await asyncio.to_thread(lambda: source.start(spans)()) == [DATA[start:stop] for start, stop in spans]
    assert await asyncio.to_thread(source.read, 3, 5) == DATA[3:5]
    assert 1 < store.most <= 4
    assert store.pins == {("v1", "e1")}


async def test_error_of_the_store_reaches_the_thread_unchanged() -> None:
    source = StoreSource(MemoryStore(), asyncio.get_running_loop(), "bucket", "gone", 10)  # type: ignore[arg-type]
    with pytest.raises(GoneError):
        await asyncio.to_thread(source.read, 0, 1)


CHILD = """
import sys
from pathlib import Path
import numpy as np, pyarrow as pa
from driftsonde.core.api import Baseline
from driftsonde.core.counting import count_object
from driftsonde.core.readers import LocalSource

random = np.random.default_rng(0)
baseline = Baseline.build(pa.table({f"c{index}": random.normal(size=2_000) for index in range(10)}))
sketch = count_object(baseline, LocalSource(Path(sys.argv[1])))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(sketch.rows, int(peak.split()[1]) // 1024)
"""


def huge_parquet(path: Path) -> int:
    rows = 3_900_000
    values = np.random.default_rng(1).normal(size=rows)
    table = pa.table({f"c{index}": values for index in range(10)})
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
    return rows


def huge_csv(path: Path) -> int:
    names = [f"c{index}" for index in range(10)]
    block = "".join(",".join(f"{value:.8f}" for value in row) + "\n" for row in np.random.default_rng(1).normal(size=(2_000, 10))).encode()
    repeats = 300 * MIB // len(block) + 1
    with path.open("wb") as file:
        file.write(",".join(names).encode() + b"\n")
        for _ in range(repeats):
            file.write(block)
    return 2_000 * repeats


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("make", [huge_parquet, huge_csv], ids=["parquet", "csv"])
def test_object_of_300_megabytes_fits_in_half_a_gigabyte(make: Any, tmp_path: Path) -> None:
    path = tmp_path / make.__name__.replace("huge_", "a.")
    rows = make(path)
    assert path.stat().st_size > 295 * MIB
    found = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True)
    counted, peak = map(int, found.stdout.split())
    path.unlink()
    assert counted == rows
    print(f"{path.name}: peak {peak} MiB")
    assert peak < 512


def checked(data: bytes, md5: str) -> StoreSource:
    """Return an object in a store whose checksum is known; to be read from a worker thread."""
    clock = FakeClock()
    objects = MemoryObjects(clock)
    objects.put("acme", "a.csv", data)
    return StoreSource(objects, asyncio.get_running_loop(), "acme", "a.csv", len(data), md5=md5)


async def test_bytes_read_in_order_are_compared_with_the_checksum() -> None:
    data = b"x\n" + b"1.5\n" * 3_000_000
    source = checked(data, hashlib.md5(data).hexdigest())
    assert await asyncio.to_thread(lambda: sum(batch.num_rows for batch in open_table(source).batches())) == 3_000_000
    assert source.verified


async def test_other_bytes_than_the_checksum_is_of_are_unreadable() -> None:
    data = b"x\n" + b"1.5\n" * 3_000_000
    source = checked(data, hashlib.md5(data[:-2] + b"4\n").hexdigest())
    with pytest.raises(UnreadableObject) as caught:
        await asyncio.to_thread(lambda: list(open_table(source).batches()))
    assert caught.value.reason == "checksum"


@pytest.mark.parametrize("written", [True, False])
async def test_pages_with_checksums_verify_an_object_that_is_not_read_whole(written: bool) -> None:
    sink = io.BytesIO()
    table = pa.table({f"c{number}": np.random.default_rng(number).normal(size=200_000) for number in range(4)})
    pq.write_table(table, sink, write_page_checksum=written, use_dictionary=False)
    source = checked(sink.getvalue(), "0" * 32)
    await asyncio.to_thread(lambda: list(open_table(source, wanted=lambda name: name == "c1").batches()))
    assert source.verified is written
