"""A drop that kills the process is refused in the end, and takes no other with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from driftsonde.core.drops import Drop
from driftsonde.core.errors import Deferred, RetryableError, UnreadableObject
from driftsonde.detector.attempts import DEATHS, Attempts

from .support import NOON, Rig


class Dying(Attempts):
    """A process that is dead before it can take an attempt back."""

    def end(self, _connection: Connection, _drop: Drop) -> None:
        """Leave it."""


async def die(rig: Rig, drop: Drop, deliveries: int) -> None:
    """Have a new process begin to read a drop, and never come back."""
    async with Dying(rig.database, rig.clock).reading(drop, deliveries):
        pass


def fresh(rig: Rig) -> Attempts:
    """Return what a process that just started has."""
    return Attempts(rig.database, rig.clock)


def drop(key: str = "a", etag: str = "1") -> Drop:
    return Drop("created", "acme", key, NOON, etag=etag)


async def test_third_death_that_is_known_refuses_the_drop(rig: Rig) -> None:
    for deliveries in range(1, DEATHS + 2):
        await die(rig, drop(), deliveries)
    with pytest.raises(UnreadableObject) as caught:
        await die(rig, drop(), DEATHS + 2)
    assert caught.value.reason == "crash"
    assert "3 processes" in str(caught.value)


async def test_drops_beside_it_are_not_refused(rig: Rig) -> None:
    """All die twice together; then each is read alone, and only one dies."""
    drops = [drop(key) for key in "abcd"]
    for deliveries in (1, 2):
        for one in drops:
            await die(rig, one, deliveries)
    process = fresh(rig)
    for one in drops[1:]:
        async with process.reading(one, 3):
            pass
    await die(rig, drops[0], 3)
    await die(rig, drops[0], 4)
    process = fresh(rig)
    for one in drops[1:]:
        async with process.reading(one, 5):
            pass
    with pytest.raises(UnreadableObject):
        await die(rig, drops[0], 5)


async def test_suspect_is_read_while_nothing_else_is(rig: Rig) -> None:
    for deliveries in (1, 2):
        await die(rig, drop("suspect"), deliveries)
    process, log = fresh(rig), []

    async def read(key: str, deliveries: int) -> None:
        async with process.reading(drop(key), deliveries):
            log.append(f"+{key}")
            await asyncio.sleep(0.01)
            log.append(f"-{key}")

    async with asyncio.timeout(5):
        await asyncio.gather(read("x", 1), read("y", 1), read("suspect", 3), read("z", 1))
    begun = log.index("+suspect")
    assert log[begun + 1] == "-suspect"
    assert {"-x", "-y"} <= set(log[:begun])


@pytest.mark.parametrize("error", [RetryableError("away"), UnreadableObject("no"), asyncio.CancelledError()])
async def test_what_ends_in_any_other_way_is_no_death(rig: Rig, error: BaseException) -> None:
    for deliveries in range(1, 8):
        with pytest.raises(type(error)):
            async with fresh(rig).reading(drop(), deliveries):
                raise error
    assert rig.select("attempt") == []


async def test_young_process_leaves_what_another_died_over(rig: Rig) -> None:
    await die(rig, drop("suspect"), 2)
    young = Attempts(rig.database, rig.clock, probation=timedelta(seconds=0.2))
    async with young.reading(drop("other"), 2):
        pass
    with pytest.raises(Deferred) as caught:
        async with young.reading(drop("suspect"), 3):
            pass
    assert 0 < caught.value.retry_after <= 0.2
    assert {row["key"]: row["count"] for row in rig.select("attempt")} == {"suspect": 1}
    await asyncio.sleep(caught.value.retry_after)
    async with young.reading(drop("suspect"), 4):
        pass
    assert rig.select("attempt") == []


async def test_new_content_starts_anew(rig: Rig) -> None:
    for deliveries in range(1, DEATHS + 2):
        await die(rig, drop(etag="1"), deliveries)
    async with fresh(rig).reading(drop(etag="2"), DEATHS + 2):
        pass


async def test_what_was_refused_is_forgotten_after_a_month(rig: Rig) -> None:
    for deliveries in range(1, DEATHS + 2):
        await die(rig, drop("old"), deliveries)
    rig.clock.advance(timedelta(days=31))
    async with fresh(rig).reading(drop("new"), 2):
        pass
    assert rig.select("attempt") == []


async def test_refused_drop_is_rejected_as_any_unreadable_one(rig: Rig) -> None:
    await rig.adopt()
    bad = rig.put("in/bomb.parquet", b"PAR1")
    for deliveries in range(1, DEATHS + 2):
        await die(rig, bad, deliveries)
    with pytest.raises(UnreadableObject):
        await rig.ingest.drop(rig.monitor, bad, deliveries=DEATHS + 2)
    assert [row["outcome"] for row in rig.select("object")] == ["crash"]
    done = await rig.evaluated()
    assert done.verdicts == ("untrusted",) or list(done.verdicts) == ["untrusted"]
