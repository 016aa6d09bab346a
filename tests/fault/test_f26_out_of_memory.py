"""F26 A drop has the process killed whenever it is read.

Promised: after the third death that is known it is dead-lettered, the first being unknown; the drops beside it count.
"""

from __future__ import annotations

from pathlib import Path

from .conftest import MakeRig
from .harness import Rig, parquet, rows

KILLER = """
import os, signal, sys
from driftsonde.core import counting
from driftsonde.detector import measure
real = counting.count_object
def count_object(baseline, source, **more):
    if "bomb" in source.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(baseline, source, **more)
measure.count_object = count_object
from driftsonde.detector.__main__ import run
sys.exit(run([]))
"""


def test_third_known_death_dead_letters_the_drop(make_rig: MakeRig, tmp_path: Path) -> None:
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    rig: Rig = make_rig(replicas=1, environment={"DRIFTSONDE_GRACE": "1s", "DRIFTSONDE_LEASE": "3s"}).start()
    assert rig.terminate() == 0  # not killed: the poll of a dead process would take messages and count as a delivery
    rig.drop("bomb.parquet", parquet(rows(99)))
    for number in range(4):
        rig.drop(f"{number}.parquet", parquet(rows(number)))
    deaths = 0
    while not rig.letters():
        rig.launch(wrapper=(str(script),))
        rig.until(lambda: rig.processes["detector0"].poll() is not None or bool(rig.letters()), "a death or a dead letter", 60)
        deaths += rig.processes["detector0"].poll() is not None
        assert deaths <= 4
    assert deaths == 4, "one that nobody stored, and three that were"
    (letter,) = rig.letters()
    assert (letter["reason"], "bomb" in letter["body"]) == ("crash", True)
    rig.settled()
    assert rig.outcomes() == {"crash": 1, "counted": 4}
    rig.verify()
