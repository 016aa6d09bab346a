"""F24 `kill -9` at random moments.

Promised: the state equals that of an uninterrupted run.
"""

from __future__ import annotations

import os
import random
import time

from .conftest import MakeRig
from .harness import parquet, rows

KILLS = int(os.environ.get("DRIFTSONDE_FAULT_KILLS", "6"))
"""`make fault` asks for 200."""


def test_killed_run_equals_an_uninterrupted_one(make_rig: MakeRig) -> None:
    chance = random.Random(24)
    bodies = {f"{number:04d}.parquet": parquet(rows(number, shift=1.0 if number % 5 == 4 else 0.0)) for number in range(4 * KILLS)}
    rig = make_rig(environment={"DRIFTSONDE_GRACE": "2s", "DRIFTSONDE_LEASE": "5s", "DRIFTSONDE_PROBATION": "10s"}).start()
    for name, body in bodies.items():
        rig.put(name, body)
    waiting = list(rig.sent)
    for _ in range(KILLS):
        some, waiting = waiting[:4], waiting[4:]
        rig.send(*some, *some)
        time.sleep(chance.uniform(0.0, 0.6))
        victim = chance.choice(list(rig.ports))
        rig.kill(victim)
        rig.start(wait=len(rig.ports) == 1)
        time.sleep(chance.uniform(0.0, 0.8))  # a process that never lives to read anything proves nothing
    rig.until(lambda: len(rig.verdicts()) == len(bodies), "every verdict", 120)
    rig.settled(120)
    rig.verify()
    assert rig.letters() == []
    assert rig.query("select count(*) from outbox") == rig.query("select count(distinct event_id) from outbox")
