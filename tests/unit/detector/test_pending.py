"""Drops that are read in turn: who is put off, what becomes of it, and what a crash leaves."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from driftsonde.core.drops import Drop
from driftsonde.core.errors import RetryableError
from driftsonde.detector.attempts import DEATHS
from driftsonde.detector.intake import Shares
from driftsonde.detector.pending import AGAIN, CLAIM

from .conftest import MakeRig
from .support import GARBAGE, Rig, config, drop_body, message


async def put_off(rig: Rig, *drops: Drop) -> list[str]:
    """Ingest drops as if their monitor had more than its share."""
    return [await rig.ingest.drop(rig.monitor, drop, later=True) for drop in drops]


async def die(rig: Rig) -> int:
    """Claim what can be claimed, in a process that never comes back; returns how many drops."""
    return len(await rig.database.run(rig.pending._claim, rig.monitor.name))


@pytest.mark.parametrize(("monitors", "slots", "share"), [(1, 8, 8), (2, 8, 2), (5, 1, 1)])
def test_one_of_several_monitors_has_a_quarter_of_the_slots(monitors: int, slots: int, share: int) -> None:
    shares = Shares(config(1).monitors * monitors, slots)
    with ExitStack() as held:
        assert [held.enter_context(shares.take("churn")) for _ in range(share + 1)] == [*[True] * share, False]
        assert held.enter_context(shares.take("fraud"))
    with shares.take("churn") as now:
        assert now


async def test_what_goes_beyond_the_share_is_settled_and_read_in_turn(rig: Rig) -> None:
    await rig.adopt()
    rig.intake._shares._most = 2
    for number in range(6):
        await rig.queue.send(message(rig.put(f"in/{number}", drop_body(seed=number))))
    leases = await rig.queue.receive(6)
    await asyncio.gather(*(rig.intake.handle(lease) for lease in leases))
    assert rig.outcomes() == {"counted": 2, "pending": 4}
    assert await rig.pending.take() == 4
    assert set(rig.objects_known().values()) == {"counted"}
    assert rig.select("attempt") == []


async def test_overwritten_drop_that_is_put_off_keeps_its_rows_until_it_is_read(rig: Rig) -> None:
    await rig.adopt()
    await rig.take(rig.put("in/1", drop_body(200)))
    assert await put_off(rig, rig.put("in/1", drop_body(300))) == ["pending"]
    assert [row["rows"] for row in rig.select("part")] == [200]
    await rig.pending.take()
    assert [row["rows"] for row in rig.select("part")] == [300]


async def test_replayed_dead_letter_that_is_put_off_is_read_again(rig: Rig) -> None:
    await rig.adopt()
    bad = rig.put("in/1", GARBAGE)
    assert await rig.take(bad) == ["unreadable"]
    assert await put_off(rig, bad, bad) == ["pending", "duplicate"]
    await rig.pending.take()
    assert rig.objects_known() == {"in/1": "unreadable"}
    assert [reason for _, reason in rig.queue.dead_letters] == ["unreadable"]


async def test_old_event_of_a_counted_object_is_not_put_off(rig: Rig) -> None:
    await rig.adopt()
    first, second = rig.put("in/1", drop_body(200)), rig.put("in/1", drop_body(300))
    await rig.take(second)
    assert await put_off(rig, first, second) == ["stale", "duplicate"]


async def test_what_one_replica_has_claimed_no_other_reads(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await put_off(rig, *(rig.put(f"in/{number}", drop_body()) for number in range(3)))
    assert await die(rig) == 3
    other = rig.replica()
    assert await other.pending.take() == 0
    rig.clock.advance(CLAIM)
    assert await other.pending.take() == 3


async def test_claim_that_is_renewed_is_kept(rig: Rig) -> None:
    await rig.adopt()
    await put_off(rig, rig.put("in/1", drop_body()))
    claimed = await rig.database.run(rig.pending._claim, rig.monitor.name)
    for _ in range(5):
        rig.clock.advance(CLAIM * 2 / 3)
        await rig.database.run(rig.pending._renew, claimed)
        assert await rig.replica().pending.take() == 0


async def test_drop_that_kills_again_and_again_is_refused_and_takes_no_other_with_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.adopt()
    await put_off(rig, *(rig.put(f"in/{name}", drop_body()) for name in ("bomb", "innocent")))
    assert await die(rig) == 2
    take, end = rig.ingest._take, rig.ingest.attempts.end

    async def deadly(monitor: Any, drop: Drop, *more: Any) -> str:
        if "bomb" in drop.key:
            raise asyncio.CancelledError  # a process that ends; what it would do afterwards is left out below
        return await take(monitor, drop, *more)

    monkeypatch.setattr(rig.ingest, "_take", deadly)
    monkeypatch.setattr(rig.ingest.attempts, "end", lambda connection, drop: None if "bomb" in drop.key else end(connection, drop))
    for deaths in range(2, DEATHS + 1):
        rig.clock.advance(CLAIM)
        for drop, known, _ in await rig.database.run(rig.pending._claim, rig.monitor.name):
            with suppress(asyncio.CancelledError):
                await rig.pending._one(rig.monitor, drop, known)
        assert {row["key"]: row["count"] for row in rig.select("attempt")}["in/bomb"] == deaths
    rig.clock.advance(CLAIM)
    assert await rig.pending.take() == 1
    assert rig.objects_known() == {"in/bomb": "crash", "in/innocent": "counted"}
    assert [reason for _, reason in rig.queue.dead_letters] == ["crash"]


async def test_drop_that_cannot_be_read_now_is_tried_again_and_stops_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.adopt()
    await put_off(rig, *(rig.put(f"in/{name}", drop_body()) for name in ("denied", "good")))
    real, denied = rig.objects.open, True

    async def open_(bucket: str, key: str, **pin: Any) -> Any:
        if denied and "denied" in key:
            raise RetryableError("access denied")
        return await real(bucket, key, **pin)

    monkeypatch.setattr(rig.objects, "open", open_)
    assert await rig.pending.take() == 1
    assert rig.objects_known() == {"in/denied": "pending", "in/good": "counted"}
    denied = False
    assert await rig.pending.take() == 0
    rig.clock.advance(AGAIN)
    assert await rig.pending.take() == 1
    assert rig.select("attempt") == []


async def test_stop_gives_back_what_was_not_begun(rig: Rig) -> None:
    await rig.adopt()
    await put_off(rig, *(rig.put(f"in/{number}", drop_body()) for number in range(3)))
    rig.pending._stop.set()
    assert await rig.pending._batch(rig.monitor, None) == 0
    assert [row["count"] for row in rig.select("attempt")] == [0, 0, 0]
    assert await rig.replica().pending.take() == 3
    assert {row["outcome"] for row in rig.select("object")} == {"counted"}
