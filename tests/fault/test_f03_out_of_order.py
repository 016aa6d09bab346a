"""F03 Events of one key come out of order.

Promised: what is older than what is known is ignored, and counted as stale.
"""

from __future__ import annotations

from .harness import Rig, parquet, rows


def test_newest_version_stays(rig: Rig) -> None:
    first = rig.put("a.parquet", parquet(rows(1)))
    second = rig.put("a.parquet", parquet(rows(2, count=500)))
    rig.send(second)
    rig.settled()
    rig.send(first)
    rig.settled()
    assert rig.verdicts() == {"a.parquet": ("ok", 500)}
    assert 'outcome="stale"} 1.0' in "".join(rig.get(name, "/metrics")[1] for name in rig.ports)
    rig.verify([second])
