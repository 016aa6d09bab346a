"""F40 Hundreds of monitors drift at once, and the retrainer is killed meanwhile.

Promised: the day's budget holds over every crash; who gets no training is told that it waits, and why.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from .reaction import Retraining, drift

pytestmark = pytest.mark.slow

MANY = int(os.environ.get("DRIFTSONDE_FAULT_MONITORS", "100"))
MONITORS, BUDGET, KILLS = tuple(f"m{number}" for number in range(MANY)), 5, 3
SECONDS = 60 + MANY / 5


def test_storm_stays_within_the_budget(emulator: str, tmp_path: Path, database: str) -> None:
    chance = random.Random(40)
    replicas = 1 if database.startswith("sqlite") else 2
    with Retraining(emulator, tmp_path, database, monitors=MONITORS, budget=BUDGET, replicas=replicas) as rig:
        rig.publish(*(drift(name) for name in MONITORS))
        rig.until(rig.heard, "all episodes", SECONDS)
        for _ in range(KILLS):
            rig.an_hour_passes()  # every waiting plan is decided again
            time.sleep(chance.uniform(0.0, 0.5))
            rig.kill("retrainer0")
            rig.start()
        rig.ended(SECONDS, done=BUDGET, waiting=len(MONITORS) - BUDGET)
        assert rig.query("select count(*) from budget") == [(BUDGET,)]
        assert [len(rig.jobs(step)) for step in ("prepare", "train", "evaluate")] == [BUDGET] * 3
        waiting = [plan for plan, state in rig.plans().items() if state == "waiting"]
        last = rig.last_said()
        assert {last[plan]["reason"] for plan in waiting} == {"all trainings of the day are used"}
        decisions = dict(rig.query("select answer, count(*) from decision group by answer"))
        assert decisions == {"retrain": BUDGET, "wait": len(waiting)}
        rig.verify()
