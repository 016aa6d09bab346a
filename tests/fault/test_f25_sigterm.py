"""F25 SIGTERM during work, twice, and during the start.

Promised: an orderly end with exit code 0 within the grace; what was not begun goes back to the queue.
"""

from __future__ import annotations

import os
import random
import time

from .conftest import MakeRig
from .harness import parquet, rows

STOPS = int(os.environ.get("DRIFTSONDE_FAULT_STOPS", "6"))
"""`make fault` asks for 200."""


def test_every_stop_is_clean(make_rig: MakeRig) -> None:
    chance = random.Random(25)
    rig = make_rig().start()
    for number in range(-(-STOPS // len(rig.ports))):
        rig.drop(f"{number}a.parquet", parquet(rows(number)))
        rig.drop(f"{number}b.parquet", parquet(rows(number, count=20_000)))
        time.sleep(chance.uniform(0.0, 0.5))
        for _ in range(2 if number % 3 == 0 else 1):
            for name in rig.ports:
                rig.processes[name].terminate()
            time.sleep(0.05)
        began = time.monotonic()
        assert {rig.processes[name].wait(25) for name in rig.ports} == {0}, rig.log()[-2000:]
        assert time.monotonic() - began < 25
        rig.start()
    rig.settled()
    rig.verify()


def test_stop_during_the_start_is_clean(make_rig: MakeRig) -> None:
    rig = make_rig(replicas=1)
    rig.start_bus()
    for _ in range(3):
        rig.launch()
        rig.until(lambda: rig.get("detector0", "/livez")[0] == 200, "a beginning")  # ready comes later
        assert rig.terminate() == 0, rig.log()[-2000:]
