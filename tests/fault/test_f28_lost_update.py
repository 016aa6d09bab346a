"""F28 Many writers at once add to one window.

Promised: no update is lost: the window is the sum of its drops.
"""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa

from .conftest import MakeRig
from .harness import ROWS, START, parquet, rows


def test_window_is_the_sum_of_its_drops(make_rig: MakeRig) -> None:
    window = {"by": "time", "column": "ts", "size": "1h", "lateness": "30d", "idle": "1s"}
    rig = make_rig(monitor={"window": window}, environment={"DRIFTSONDE_SLOTS": "8"}).start()
    times = pa.array([START + timedelta(seconds=10 * number) for number in range(ROWS)], pa.timestamp("us", "UTC"))
    bodies = [parquet(rows(number).append_column("ts", times)) for number in range(40)]
    sent = [rig.put(f"{number}.parquet", body) for number, body in enumerate(bodies)]
    rig.send(*sent, *sent[::3])
    rig.until(lambda: rig.outcomes() == {"counted": 40}, "every drop")
    rig.settled()
    assert rig.query('select rows from "window"') == [(40 * ROWS,)]
    rig.verify()
