"""Commits of several drops: together where there is one writer, and none in the way of another."""

from __future__ import annotations

import asyncio

from sqlalchemy import event

from .conftest import MakeRig
from .support import drop_body


async def test_drops_that_arrive_together_share_transactions(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    begun: list[str] = []
    event.listen(rig.database.engine, "before_cursor_execute", lambda *call: begun.append(call[2]) if "IMMEDIATE" in call[2] else None)
    drops = [rig.put(f"in/{number:02d}", drop_body(150, seed=number)) for number in range(12)]
    outcomes = await asyncio.gather(*(rig.ingest.drop(rig.monitor, drop) for drop in drops))
    assert set(outcomes) == {"counted"}
    assert len(rig.parts()) == 12
    if rig.database.is_sqlite:
        assert len(begun) < 12


async def test_same_drop_twice_at_once_counts_once(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    drops = [rig.put(f"in/{number}", drop_body(150, seed=number)) for number in range(4)]
    outcomes = await asyncio.gather(*(rig.ingest.drop(rig.monitor, drop) for drop in drops * 3))
    assert sorted(outcomes) == ["counted"] * 4 + ["duplicate"] * 8
    assert rig.counted("rows_total") == 600


async def test_drop_over_an_old_baseline_does_not_hold_up_those_beside_it(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    old = rig.put("in/old", drop_body(150))
    assert await rig.ingest.drop(rig.monitor, old) == "counted"
    await rig.promote(drop_body(4_000, 2.0, 7))
    again = rig.put("in/old", drop_body(150, seed=5))  # its window keeps the version that it was begun with
    fresh = [rig.put(f"in/{number}", drop_body(150, seed=number)) for number in range(5)]
    outcomes = await asyncio.gather(*(rig.ingest.drop(rig.monitor, drop) for drop in (again, *fresh)))
    assert outcomes == ["counted"] * 6
    versions = {row["id"]: row["baseline"] for row in rig.select("window")}
    assert {name.rpartition("/")[2]: version for name, version in versions.items()} == {"old": 1, **{str(n): 2 for n in range(5)}}
