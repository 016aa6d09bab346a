"""Reminders while an episode stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from driftsonde.core.ports import Delivery, Occasion
from driftsonde.notifier import schema as tables
from driftsonde.notifier.render import plain_text, slack_payload

from .support import SECOND, ListChannel, Rig, detected, event, rejected, resolved

HOUR = timedelta(hours=1)
DAY = 24 * HOUR


@pytest.fixture
def reminding(tmp_path: Path, channel: ListChannel) -> Iterator[Rig]:
    """A notifier whose channel `ops` is reminded once a day."""
    rig = Rig(tmp_path, {"ops": channel}, remind="24h")
    yield rig
    rig.close()


async def test_open_episode_is_told_again_each_day(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    for _ in range(60):
        await reminding.later(HOUR)
    assert [occasion.reminder for occasion in channel.occasions] == [0, 1, 2]
    assert channel.told() == ["drift.detected 7"] * 3
    assert channel.sent[2] == event(detected())
    assert reminding.count("reminders_total", channel="ops") == 2
    assert [fact["detail"] for fact in reminding.announced()] == ["", "reminder 1", "reminder 2"]


async def test_reminders_stop_when_the_episode_ends(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    await reminding.tell(resolved())
    for _ in range(3):
        await reminding.later(DAY)
    assert channel.told() == ["drift.detected 7", "drift.resolved 7"]


async def test_reminder_that_waits_is_withdrawn_when_the_episode_ends(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    channel.answers.append(Delivery("retry", "HTTP 503", 900.0))
    await reminding.later(DAY)
    await reminding.tell(resolved())
    await reminding.deliver(within=HOUR)
    assert channel.told() == ["drift.detected 7", "drift.detected 7", "drift.resolved 7"]
    assert [state for state, _ in reminding.log()] == ["delivered", "stale", "delivered"]


async def test_channel_without_remind_is_not_reminded(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(detected())
    await rig.deliver()
    for _ in range(5):
        await rig.later(DAY)
    assert len(channel.sent) == 1


async def test_reminders_survive_a_restart(tmp_path: Path, reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    reminding.clock.advance(DAY)
    after = Rig(tmp_path, {"ops": channel}, clock=reminding.clock, remind="24h")
    await after.rounds()
    await after.deliver(within=5 * SECOND)
    after.close()
    assert [occasion.reminder for occasion in channel.occasions] == [0, 1]


async def test_two_replicas_remind_once(tmp_path: Path, reminding: Rig, channel: ListChannel) -> None:
    other = Rig(tmp_path, {"ops": channel}, clock=reminding.clock, remind="24h")
    await reminding.tell(detected())
    await reminding.deliver()
    for _ in range(3):
        reminding.clock.advance(DAY)
        await asyncio.gather(reminding.rounds(), other.rounds())
        await reminding.deliver(within=5 * SECOND)
    other.close()
    assert [occasion.reminder for occasion in channel.occasions] == [0, 1, 2, 3]


async def test_silenced_monitor_is_reminded_after_the_silence(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    await reminding.silence(3 * DAY)
    await reminding.later(2 * DAY)
    assert len(channel.sent) == 1
    await reminding.later(DAY)
    assert [occasion.reminder for occasion in channel.occasions] == [0, 1]


async def test_message_that_still_waits_needs_no_reminder(reminding: Rig, channel: ListChannel) -> None:
    channel.answers.extend([Delivery("retry", "HTTP 503", 900.0)] * 200)
    await reminding.tell(detected())
    await reminding.deliver()
    for _ in range(23):
        await reminding.later(HOUR)
    assert {occasion.reminder for occasion in channel.occasions} == {0}


async def test_failed_reminder_is_retried_and_counts_from_its_end(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    channel.answers.append(Delivery("retry", "HTTP 503"))
    await reminding.later(DAY)
    assert [occasion.reminder for occasion in channel.occasions] == [0, 1, 1]


async def test_episode_of_another_version_does_not_stop_the_others(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected(7), detected(8))
    await reminding.deliver(within=5 * SECOND)
    with reminding.database.write() as connection:
        connection.execute(update(tables.incident).where(tables.incident.c.group_key == "churn/7").values(alarm="{}"))
    await reminding.later(DAY)
    assert channel.told()[2:] == ["drift.detected 8"]


async def test_monitor_that_tells_nobody_any_more_is_not_reminded(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(detected())
    await reminding.deliver()
    reminding.clock.advance(2 * DAY)
    assert await reminding.database.run(reminding.reminders.queue_due, "ops", DAY, lambda _: False) == 0


async def test_what_is_no_episode_is_not_reminded(reminding: Rig, channel: ListChannel) -> None:
    await reminding.tell(rejected("k"))
    await reminding.deliver()
    for _ in range(3):
        await reminding.later(DAY)
    assert len(channel.sent) == 1


def test_reminder_says_that_it_is_one() -> None:
    text = plain_text(event(detected()), Occasion(reminder=2))
    assert text.startswith("Still open: Drift: churn")
    assert "since 2026-01-01 12:00 UTC (reminder 2)" in text
    assert slack_payload(event(detected()), Occasion(reminder=2))["text"].startswith("Still open: Drift: churn")
