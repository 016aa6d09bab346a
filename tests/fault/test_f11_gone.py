"""F11 The object was deleted before it was read.

Promised: counted as gone, the message is settled, and nothing is tried again and again.
"""

from __future__ import annotations

from .harness import Rig, parquet, rows


def test_gone_object_is_noted(rig: Rig) -> None:
    sent = rig.put("a.parquet", parquet(rows(1)))
    rig.delete("a.parquet")
    rig.send(sent)
    rig.drop("b.parquet", parquet(rows(2)))
    rig.settled()
    assert rig.outcomes() == {"gone": 1, "counted": 1}
    assert rig.letters() == []
    rig.verify()
