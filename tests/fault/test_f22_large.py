"""F22 An object larger than the memory that there is.

Promised: streamed by ranges; the process stays below 512 MiB, its lease is kept, and each row counts once.
"""

from __future__ import annotations

import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .harness import Rig
from .test_f17_bombs import peak

pytestmark = pytest.mark.slow

GROUPS = 60
GROUP_ROWS = 1_250_000


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_object_beyond_the_limit_is_streamed(rig: Rig) -> None:
    random = np.random.default_rng(22)
    table = pa.table({"x": random.normal(size=GROUP_ROWS), "plan": random.choice(["free", "pro"], GROUP_ROWS)})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="none", use_dictionary=["plan"]) as writer:
        for _ in range(GROUPS):
            writer.write_table(table)
    body = sink.getvalue()
    assert len(body) > 600_000_000
    rig.drop("large.parquet", body)
    rig.settled(120)
    found = peak(rig)
    print(f"peak {found} MiB for {len(body) // 1_000_000} MB")
    assert found < 512
    assert rig.verdicts()["large.parquet"] == ("ok", GROUPS * GROUP_ROWS)
    rig.verify()
