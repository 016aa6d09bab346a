"""F01 The same message is delivered again, shuffled among others, and once more when all is done.

Promised: it counts once.
"""

from __future__ import annotations

import random

from .harness import ROWS, Rig


def test_every_drop_counts_once(rig: Rig) -> None:
    sent = [rig.put(f"{number}.parquet", _body(number)) for number in range(8)] * 5
    random.Random(1).shuffle(sent)
    rig.send(*sent)
    rig.until(lambda: len(rig.verdicts()) == 8, "eight verdicts")
    rig.settled()
    rig.send(*sent[:10])
    rig.settled()
    assert {rows for _, rows in rig.verdicts().values()} == {ROWS}
    rig.verify()


def _body(number: int) -> bytes:
    from .harness import parquet, rows

    return parquet(rows(number))
