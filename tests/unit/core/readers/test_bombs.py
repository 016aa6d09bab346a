"""Objects that would take more memory than they say are refused by what their pages say; flipped bits in checked pages are seen."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftsonde.core.errors import UnreadableObject
from driftsonde.core.readers import Limits, LocalSource, open_table
from driftsonde.core.readers.limits import MIB


def write(path: Path, table: pa.Table, **options: Any) -> LocalSource:
    pq.write_table(table, path, **{"compression": "zstd", **options})
    return LocalSource(path)


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([text]))


def counted(source: LocalSource, limits: Limits | None = None) -> int:
    rows = 0
    for chunk in open_table(source, limits=limits).chunks():
        rows += chunk.rows
        for name in chunk.names:
            for _ in chunk.pieces(name):
                pass
    return rows


ZEROS = np.zeros(200_000)
LISTS = pa.ListArray.from_arrays(pa.array([0, len(ZEROS)], pa.int32()), pa.array(ZEROS))
ONE_PAGE = {"use_dictionary": False, "data_page_size": 1 << 30, "write_batch_size": 1 << 30, "max_rows_per_page": 1 << 30}


@pytest.mark.parametrize(
    ("limit", "limits", "table", "options"),
    [
        ("max_rows", Limits(max_rows=1_000), pa.table({"x": ZEROS}), {}),
        ("max_columns", Limits(max_columns=9), pa.table({f"c{number}": [1] for number in range(10)}), {}),
        ("value_bytes", Limits(value_bytes=1_000), pa.table({"x": repeated("a" * 1_001, 9)}), {}),
        ("max_expansion", Limits(free_expansion_bytes=MIB), pa.table({"x": ZEROS}), {"row_group_size": 200_000}),
        ("max_expansion", Limits(free_expansion_bytes=MIB, batch_bytes=MIB), pa.table({"x": repeated("a" * 10_000, 1_000)}), {}),
        ("held_bytes", Limits(held_bytes=MIB), pa.table({"x": np.zeros(10_000_000)}), ONE_PAGE),
        ("held_bytes", Limits(held_bytes=MIB), pa.table({"x": pa.array([[0.0] * 9_000_000])}), {}),
        ("footer_bytes", Limits(footer_bytes=1_000), pa.table({"x": ZEROS}), {"row_group_size": 1_000}),
    ],
)  # fmt: skip
def test_limit_is_named_with_what_went_beyond_it(
    limit: str, limits: Limits, table: pa.Table, options: dict[str, Any], tmp_path: Path
) -> None:
    source = write(tmp_path / "a.parquet", table, **options)
    with pytest.raises(UnreadableObject, match=rf"a\.parquet .* more than [\d,]+ \(limits: {limit}.*or raise the limit") as caught:
        counted(source, limits)
    assert caught.value.reason == "too_large"
    assert counted(source) == len(table)


def test_rows_are_decoded_in_smaller_batches_where_they_are_wide(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pa.table({f"c{number}": np.arange(5_000.0) for number in range(20)}))
    sizes = [batch.nbytes for batch in open_table(source, limits=Limits(batch_bytes=100_000)).batches()]
    assert len(sizes) > 5
    assert counted(source, Limits(batch_bytes=100_000)) == 5_000


def test_keys_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b'{"k%d":1}\n' % number for number in range(20_000)))
    with pytest.raises(UnreadableObject, match=r"limits: max_columns"):
        counted(LocalSource(path))


def test_json_field_names_that_are_no_text_cost_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"\x80": 1}\n{"a": 2}\n')
    reader = open_table(LocalSource(path))
    assert sum(batch.num_rows for batch in reader.batches()) == 2
    assert reader.bad_rows == 1


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_flipped_bits_in_checked_pages_are_never_silent(version: str) -> None:
    sink = io.BytesIO()
    whole = pa.table({"x": np.random.default_rng(0).normal(size=2_000)})
    pq.write_table(whole, sink, write_page_checksum=True, use_dictionary=False, compression="none", data_page_version=version)
    data = sink.getvalue()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    draw, silent, refused = random.Random(16), 0, 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[draw.randrange(4, footer)] ^= 1 << draw.randrange(8)
        try:
            found = pa.Table.from_batches(list(open_table(_Bytes(bytes(damaged))).batches()))
        except UnreadableObject:
            refused += 1
        else:
            silent += not found.equals(whole)
    assert silent == 0
    assert refused > 380


class _Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.name, self.size, self.verified, self._data = "a.parquet", len(data), False, data

    def read(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]

    def start(self, spans: Any) -> Any:
        return lambda: [self.read(*span) for span in spans]


CHILD = """
import sys
from pathlib import Path
from driftsonde.core.readers import LocalSource, open_table
rows = sum(batch.num_rows for batch in open_table(LocalSource(Path(sys.argv[1]))).batches())
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_hundred_million_rows_in_a_small_file_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    zeros = pa.table({"x": np.zeros(10_000_000)})
    with pq.ParquetWriter(path, zeros.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(zeros, row_group_size=10_000_000)
    found = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True)
    rows, peak = map(int, found.stdout.split())
    assert (rows, path.stat().st_size < MIB) == (100_000_000, True)
    assert peak < 256
