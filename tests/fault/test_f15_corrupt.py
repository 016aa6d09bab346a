"""F15 The object is cut short or corrupt.

Promised: dead-lettered as unreadable, its window is untrusted, nothing of it counts; a good version takes its place.
"""

from __future__ import annotations

import random

from .harness import ROWS, Rig, parquet, rows


def test_corrupt_objects_are_dead_lettered_and_replaced(rig: Rig) -> None:
    whole = parquet(rows(1))
    random.seed(3)
    damaged = [
        whole[: len(whole) // 2],
        whole[:-4] + b"XXXX",
        b"PAR1" + random.randbytes(500) + b"PAR1",
        whole[:8] + whole[200:],
        b"{not json",
    ]
    for number, body in enumerate(damaged):
        rig.drop(f"{number}.parquet", body)
    rig.settled()
    assert {letter["reason"] for letter in rig.letters()} <= {"unreadable", "unknown_format"}
    assert {word for word, _ in rig.verdicts().values()} == {"untrusted"}
    rig.verify()
    good = [rig.drop(f"{number}.parquet", parquet(rows(number))) for number in range(len(damaged))]
    rig.settled()
    assert set(rig.verdicts().values()) == {("ok", ROWS)}
    rig.verify(good)
