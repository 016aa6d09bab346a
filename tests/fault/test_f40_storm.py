"""F40 Hundreds of monitors drift at once, and the retrainer is killed meanwhile.

Promised: the day's budget holds over every crash; who gets no training is told that it waits.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from .reaction import Retraining, drift

pytestmark = pytest.mark.slow

MONITORS, BUDGET, KILLS = tuple(f"m{number}" for number in range(100)), 5, 3


def test_storm_stays_within_the_budget(emulator: str, tmp_path: Path, database: str) -> None:
    chance = random.Random(40)
    replicas = 1 if database.startswith("sqlite") else 2
    with Retraining(emulator, tmp_path, database, monitors=MONITORS, budget=BUDGET, replicas=replicas) as rig:
        rig.publish(*(drift(name) for name in MONITORS))
        rig.until(rig.heard, "all episodes", 60)
        for _ in range(KILLS):
            rig.an_hour_passes()  # every waiting plan is decided again
            time.sleep(chance.uniform(0.0, 0.5))
            rig.kill("retrainer0")
            rig.start()
        rig.ended(done=BUDGET, waiting=len(MONITORS) - BUDGET)
        assert rig.query("select count(*) from budget") == [(BUDGET,)]
        assert [len(rig.jobs(step)) for step in ("prepare", "train", "evaluate")] == [BUDGET] * 3
        waits = {rig.said(plan)[-1]["reason"] for plan, state in rig.plans().items() if state == "waiting"}
        assert waits == {"all trainings of the day are used"}
        rig.verify()
