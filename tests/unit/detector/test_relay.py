"""Stored events reach the bus in order, again while they are current, and people by the read API."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest
from starlette.applications import Starlette

from driftsonde.core.errors import RetryableError
from driftsonde.core.events import Event
from driftsonde.core.testing.fakes import MemoryBus
from driftsonde.detector.readapi import routes

from .conftest import MakeRig
from .support import HOUR, Rig, drop_body

DRIFT = drop_body(200, 1.0, 1)


class Forgetful(MemoryBus):
    """A bus that is away for some publications."""

    def __init__(self, *failures: int) -> None:
        super().__init__()
        self.calls, self._failures = 0, failures

    async def publish(self, event: Event, *, attempt: int = 0) -> None:
        """Publish, or fail."""
        self.calls += 1
        if self.calls in self._failures:
            raise RetryableError("bus is away")
        await super().publish(event, attempt=attempt)


async def drifting(rig: Rig) -> Rig:
    """Open an episode, close it, and open another."""
    await rig.adopt()
    for number, body in enumerate([DRIFT, drop_body(), drop_body(200, 0, 2), DRIFT]):
        await rig.take(rig.put(f"in/{number}", body))
        await rig.evaluated()
    return rig


async def test_outbox_tells_how_long_its_oldest_event_has_waited(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    rig.relay._bus = Forgetful(1)
    rig.clock.advance(timedelta(minutes=7))
    with pytest.raises(RetryableError):
        await rig.relay.publish_once()
    assert rig.counted("outbox_age_seconds") == 7 * 60
    assert rig.counted("outbox_events") == 4
    await rig.relay.publish_once()
    assert rig.counted("outbox_age_seconds") == 0


async def test_events_are_published_again_on_demand(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    await rig.say()
    assert await rig.database.run(rig.outbox.publish_again, rig.clock.now() + HOUR) == 0
    assert await rig.database.run(rig.outbox.publish_again, rig.clock.now() - HOUR, "other") == 0
    assert await rig.database.run(rig.outbox.publish_again, rig.clock.now() - HOUR, "churn") == 4
    assert len(await rig.say()) == 8
    assert len(rig.select("timeline")) == 4


async def test_events_are_published_once_in_order(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    published = await rig.say()
    assert [(event.data.TYPE, event.data.episode) for event in published] == [
        ("baseline.adopted", None), ("drift.detected", 1), ("drift.resolved", 1), ("drift.detected", 2),
    ]  # fmt: skip
    assert len(await rig.say()) == 4
    assert rig.counted("published_events_total") == 4
    assert rig.counted("outbox_events") == 0


async def test_bus_that_is_away_keeps_the_order(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    rig.bus = Forgetful(2, 3)
    rig.relay._bus = rig.bus
    for _ in range(2):
        with pytest.raises(RetryableError):
            await rig.relay.publish_once()
    await rig.relay.publish_once()
    assert [event.data.episode for event in rig.bus.published] == [None, 1, 1, 2]


async def test_open_episode_is_published_again_until_it_ends(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    await rig.say()
    for _ in range(3):
        rig.clock.advance(HOUR + timedelta(seconds=1))
        await rig.database.run(rig.relay._rearm)
        await rig.say()
    repeated = [event.data.episode for event in rig.bus.published][4:]
    assert repeated == [1, 2, 2, 2], "the closed one is repeated once: a broker may have lost it before it was closed"
    assert len({event.id for event in rig.bus.published}) == 4
    assert [row["episode"] for row in sorted(rig.select("timeline"), key=lambda row: row["id"])] == [None, 1, 1, 2]


async def test_old_events_are_forgotten_but_open_ones(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    await rig.say()
    for _ in range(40):
        rig.clock.advance(timedelta(days=1))
        await rig.database.run(rig.relay._rearm)
        await rig.say()
        await rig.database.run(rig.outbox.forget_old)
    assert [fact["episode"] for fact in rig.facts("drift.detected")] == [2]
    assert [event.data.episode for event in rig.bus.published].count(2) == 41
    assert len(rig.select("timeline")) == 4, "the timeline is kept, and has each event once"


async def test_running_relay_publishes_when_it_is_woken(rig: Rig) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(rig.relay.run(stop))
    await rig.adopt()
    rig.relay.wake()
    async with asyncio.timeout(5):
        while not rig.bus.published:
            await asyncio.sleep(0.01)
    stop.set()
    await task


async def test_read_api_shows_monitors_windows_and_timeline(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig(on_remove="retract"))
    await rig.take(rig.remove("in/2"))
    await rig.evaluated()
    await rig.say()
    transport = httpx.ASGITransport(Starlette(routes=routes(rig.database, rig.config)))
    async with httpx.AsyncClient(transport=transport, base_url="http://detector") as client:
        (monitor,) = (await client.get("/api/monitors")).json()
        windows = (await client.get("/api/monitors/churn/windows")).json()
        timeline = (await client.get("/api/timeline?after=1&monitor=churn")).json()
        assert (await client.get("/api/monitors/none/windows")).status_code == 404
        assert (await client.get("/api/timeline?after=x")).status_code == 400
    assert monitor["baseline"]["version"] == 1
    assert monitor["drops"] == {"counted": 3, "retracted": 1}
    assert [(episode["number"], episode["open"]) for episode in monitor["episodes"]] == [(1, False), (2, True)]
    assert [(window["id"][-1], window["verdict"]) for window in windows] == [("0", "drift"), ("1", "ok"), ("3", "drift")]
    assert windows[0]["columns"]["x"]["status"] == "drift"
    assert [event["type"].removeprefix("driftsonde.v1.") for event in timeline][:2] == ["drift.detected", "drift.resolved"]
