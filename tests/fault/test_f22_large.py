"""F22 An object larger than the memory that there is, whose reader is killed in the middle.

Promised: streamed by ranges; the process stays below 512 MiB, its lease is kept, a new process goes on at the last row group stored, and each row counts once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from .conftest import MakeRig
from .harness import START, Sent
from .sparse import ETAG, Repeated, Serving
from .test_f17_bombs import peak

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")]

GIGABYTES = float(os.environ.get("DRIFTSONDE_FAULT_GIGABYTES", "1"))
"""`make fault` asks for 10."""
GROUP_ROWS = 1_000_000
OFTEN = """
import sys
from driftsonde.detector import checkpoints
checkpoints.EVERY_SECONDS = 0.5
from driftsonde.detector.__main__ import run
sys.exit(run([]))
"""


@pytest.fixture
def serving(emulator: str) -> Iterator[Serving]:
    """A relay to the emulator."""
    proxy = Serving(emulator)
    yield proxy
    proxy.close()


def test_large_object_is_streamed_and_taken_up_again(make_rig: MakeRig, serving: Serving, tmp_path: Path) -> None:
    random = np.random.default_rng(22)
    plans = pa.array(["free", "pro"]).take(pa.array(random.integers(0, 2, GROUP_ROWS)))
    table = pa.table({"x": random.normal(size=GROUP_ROWS), "plan": plans})
    group = Repeated(table, 1).size
    groups = int(GIGABYTES * 1e9 / group) + 1
    body = Repeated(table, groups)
    (script := tmp_path / "often.py").write_text(OFTEN)
    rig = make_rig(replicas=1, environment={"AWS_ENDPOINT_URL": serving.url, "DRIFTSONDE_LEASE": "5s", "DRIFTSONDE_GRACE": "2s"}).start()
    assert rig.terminate() == 0
    serving.path, serving.body = f"/{rig.bucket}/in/large.parquet", body
    rig.sent.append(sent := Sent("in/large.parquet", ETAG, "01", START, body.size, groups * GROUP_ROWS))
    rig.launch(wrapper=(str(script),))
    rig.send(sent)
    rig.until(lambda: rig.query(f"select 1 from checkpoint where groups > {groups // 3}"), "a third of it", 600)
    before = peak(rig)
    rig.kill()
    read, serving.read = serving.read, 0
    rig.launch()
    rig.settled(1200)
    print(
        f"peak {max(before, peak(rig))} MiB for {body.size / 1e9:.1f} GB; read {read / 1e9:.2f} GB before the kill, {serving.read / 1e9:.2f} GB after it"
    )
    assert max(before, peak(rig)) < 512
    assert rig.verdicts()["large.parquet"] == ("ok", groups * GROUP_ROWS)
    resumed = re.search(r'"row_group": (\d+)', rig.log())
    assert resumed is not None
    assert int(resumed[1]) > groups // 3
    assert serving.read < body.size * (1 - int(resumed[1]) / groups) + 64e6
    assert rig.query("select count(*) from checkpoint") == [(0,)]
    rig.verify()
