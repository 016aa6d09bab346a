"""Silences: what they keep back, and what is told when they are over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from driftsonde.core.ports import Delivery
from driftsonde.notifier import schema as tables

from .support import SECOND, ListChannel, Rig, detected, rejected, resolved

HOUR = timedelta(hours=1)


async def test_silenced_episode_is_logged_and_not_sent(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(4 * HOUR)
    await rig.tell(detected())
    await rig.later(HOUR)
    assert channel.sent == []
    assert rig.log() == [("silenced", "")]
    assert rig.outcomes == ["silenced"]
    assert rig.count("silenced_messages_total", channel="ops") == 1
    assert rig.count("events_total", outcome="silenced") == 1
    assert rig.count("active_silences") == 1


async def test_episode_still_open_when_silence_ends_is_told_once(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(4 * HOUR)
    await rig.tell(detected())
    await rig.later(4 * HOUR - SECOND)
    assert channel.sent == []
    for _ in range(3):
        await rig.later(2 * SECOND)
    assert channel.told() == ["drift.detected 7"]
    assert rig.woken == ["ops"]


async def test_episode_that_came_and_went_in_silence_stays_untold(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(4 * HOUR)
    await rig.tell(detected(), resolved())
    await rig.later(5 * HOUR)
    assert channel.sent == []
    assert [state for state, _ in rig.log()] == ["silenced", "silenced"]


async def test_end_of_told_episode_is_told_after_the_silence(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(detected())
    await rig.deliver()
    await rig.silence(4 * HOUR)
    await rig.tell(resolved())
    await rig.later(HOUR)
    assert channel.told() == ["drift.detected 7"]
    await rig.later(4 * HOUR)
    assert channel.told() == ["drift.detected 7", "drift.resolved 7"]


async def test_other_messages_of_the_silence_are_never_told(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(HOUR)
    await rig.tell(rejected("a"))
    await rig.later(2 * HOUR)
    assert channel.sent == []
    await rig.tell(rejected("b"))  # within the hour in which repeats are folded, but nobody was told the first
    await rig.deliver()
    assert channel.told() == ["drop.rejected None"]


async def test_silence_is_of_one_monitor(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(HOUR, monitor="fraud")
    await rig.tell(detected(), detected(monitor="fraud"))
    await rig.deliver(within=5 * SECOND)
    assert [event.subject for event in channel.sent] == ["churn"]


async def test_silence_of_one_channel_leaves_the_other(tmp_path: Path) -> None:
    silent, other = ListChannel(), ListChannel()
    rig = Rig(tmp_path, {"ops": silent, "pager": other})
    await rig.silence(HOUR, "ops")
    await rig.tell(detected())
    await rig.deliver("ops")
    await rig.deliver("pager")
    rig.close()
    assert (silent.told(), other.told()) == ([], ["drift.detected 7"])
    assert rig.outcomes == ["queued"]
    assert rig.woken == ["pager"]
    assert rig.count("silenced_messages_total", channel="ops") == 1


async def test_message_that_waits_is_silenced_too(rig: Rig, channel: ListChannel) -> None:
    channel.answers.append(Delivery("retry", "HTTP 500"))
    await rig.tell(detected(), rejected("a"))
    await rig.deliver()
    await rig.silence(HOUR)
    await rig.deliver(within=HOUR / 2)
    assert len(channel.sent) == 1
    assert {state for state, _ in rig.log()} == {"silenced"}
    await rig.later(HOUR)
    assert channel.told()[1:] == ["drift.detected 7"]


async def test_message_in_the_hand_of_a_replica_is_not_silenced(rig: Rig) -> None:
    await rig.tell(detected())
    assert not isinstance(await rig.database.run(rig.store.claim, "ops", SECOND), float)
    await rig.silence(HOUR)
    assert rig.log() == [("pending", "")]


async def test_silence_ended_by_hand_tells_what_is_open(rig: Rig, channel: ListChannel) -> None:
    one = await rig.silence(4 * HOUR)
    await rig.tell(detected())
    assert await rig.database.run(rig.silences.end, one.id)
    assert not await rig.database.run(rig.silences.end, one.id)
    await rig.later(SECOND)
    assert channel.told() == ["drift.detected 7"]


async def test_overlapping_silences_end_with_the_last(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(HOUR)
    await rig.silence(3 * HOUR, "ops")
    await rig.tell(detected())
    await rig.later(2 * HOUR)
    assert channel.sent == []
    await rig.later(2 * HOUR)
    assert channel.told() == ["drift.detected 7"]


async def test_what_was_silenced_for_days_is_retried_like_what_is_new(rig: Rig, channel: ListChannel) -> None:
    await rig.silence(72 * HOUR)
    await rig.tell(detected())
    channel.answers.extend([Delivery("retry", "HTTP 503")] * 3)
    await rig.later(73 * HOUR)
    await rig.deliver(within=HOUR)
    assert rig.log() == [("delivered", "")]


async def test_old_silences_are_forgotten(rig: Rig) -> None:
    await rig.silence(HOUR)
    rig.clock.advance(timedelta(days=31))
    await rig.database.run(rig.store.tidy, ("ops",))
    with rig.database.read() as connection:
        assert connection.execute(select(tables.silence)).all() == []
