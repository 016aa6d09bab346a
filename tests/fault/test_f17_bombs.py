"""F17 A small object that grows: rows, texts, pages, lists or columns without end.

Promised: counted or dead-lettered as too large, within 512 MiB and without holding up other drops.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from .harness import Rig, parquet, rows

MIB = 1024 * 1024


def peak(rig: Rig) -> int:
    """Return the most memory that the detector has had, in MiB."""
    status = Path(f"/proc/{rig.processes['detector0'].pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def repeated(text: str, times: int) -> pa.Array:
    """Return one text many times over, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([text]))


def bombs() -> dict[str, bytes]:
    """Return objects of a few kilobytes that would take gigabytes."""
    zeros = np.zeros(30_000_000)
    lists = pa.ListArray.from_arrays(pa.array([0, len(zeros)], pa.int32()), pa.array(zeros))
    one_page = {"use_dictionary": False, "data_page_size": 1 << 31, "write_batch_size": 1 << 30, "max_rows_per_page": 1 << 30}
    return {
        "rows.parquet": parquet(pa.table({"x": zeros}), compression="zstd", row_group_size=len(zeros)),
        "text.parquet": parquet(pa.table({"plan": repeated("a" * 16 * MIB, 500)}), compression="zstd"),
        "texts.parquet": parquet(pa.table({"plan": repeated("a" * MIB, 50_000)}), compression="zstd"),
        "numbers.parquet": parquet(pa.table({"x": repeated("a" * 60_000, 50_000)}), compression="zstd"),
        "page.parquet": parquet(pa.table({"x": zeros}), compression="zstd", row_group_size=len(zeros), **one_page),
        "list.parquet": parquet(pa.table({"x": lists}), compression="zstd"),
        "columns.parquet": parquet(pa.table({f"c{number}": [1] for number in range(10_000)}), write_statistics=False),
        "keys.jsonl": b"".join(b'{"k%d":1}\n' % number for number in range(100_000)),
        "nested.jsonl": b"".join(b'{"x":{"k%d":1}}\n' % number for number in range(20_000)),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_bombs_neither_kill_nor_stall(rig: Rig) -> None:
    made = bombs()
    for name, body in made.items():
        rig.drop(name, body)
    rig.drop("beside.parquet", parquet(rows(1)))
    rig.until(lambda: "beside.parquet" in rig.verdicts(), "the drop beside them", 30)
    rig.settled()
    found = peak(rig)
    print(f"peak {found} MiB")
    assert found < 512
    assert rig.processes["detector0"].poll() is None
    refused = {letter["reason"] for letter in rig.letters()}
    assert refused == {"too_large"}
    assert rig.outcomes()["too_large"] >= 6
    rig.verify()
