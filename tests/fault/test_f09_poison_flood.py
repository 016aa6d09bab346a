"""F09 A flood of poison.

Promised: single poison ends in the dead letters; a flood is left in the queue, the detector is not ready, and goes on once it is over.
"""

from __future__ import annotations

from .conftest import MakeRig
from .harness import parquet, rows


def test_flood_is_left_in_the_queue(make_rig: MakeRig) -> None:
    rig = make_rig(replicas=1).start()
    rig.send(*(f"poison {number}" for number in range(120)))
    rig.until(lambda: "are poison" in rig.get("detector0", "/readyz")[1], "the alarm")
    assert rig.get("detector0", "/livez")[0] == 200
    assert rig.depth() >= 40
    rig.aws(lambda _, sqs: sqs.purge_queue(QueueUrl=rig.queue_url("intake")))
    rig.drop("a.parquet", parquet(rows(1)))
    rig.until(lambda: rig.get("detector0", "/readyz")[0] == 200, "ready again", 90)
    rig.until(lambda: rig.outcomes() == {"counted": 1}, "the drop")
    rig.verify()


def test_one_in_ten_holds_nothing_up(make_rig: MakeRig) -> None:
    rig = make_rig(replicas=1).start()
    for number in range(100):
        if number % 10:
            rig.drop(f"{number}.parquet", parquet(rows(number, count=60)))
        else:
            rig.send(f"poison {number}")
    rig.settled()
    assert rig.outcomes() == {"counted": 90}
    assert len(rig.letters()) == 10
    rig.verify()
