"""Quiet hours: what is held back, until when, and what passes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.config import QuietHours
from driftsonde.core.events import TrainingFailed
from driftsonde.core.hours import is_within
from driftsonde.notifier.quiet import SEVERITIES, passing

from .support import NOON, ListChannel, Rig, detected, resolved

HOUR = timedelta(hours=1)
NIGHT = {"from": "22:00", "to": "07:00", "tz": "Europe/Berlin"}  # 21:00 to 06:00 UTC in January
FAILED = TrainingFailed(monitor="churn", episode=7, plan="p", job="j")


@pytest.fixture
def quiet_rig(tmp_path: Path, channel: ListChannel) -> Iterator[Rig]:
    """A notifier whose channel `ops` is left alone at night; it is 23:00 in Berlin."""
    rig = Rig(tmp_path, {"ops": channel}, quiet=NIGHT)
    rig.clock.advance(10 * HOUR)
    yield rig
    rig.close()


@pytest.mark.parametrize(
    ("hours", "utc", "quiet"),
    [
        (NIGHT, "2026-01-01T20:59", False), (NIGHT, "2026-01-01T21:00", True), (NIGHT, "2026-01-02T05:59", True), (NIGHT, "2026-01-02T06:00", False),
        (NIGHT, "2026-07-01T19:59", False), (NIGHT, "2026-07-01T20:00", True), (NIGHT, "2026-07-02T05:00", False),
        ({"from": "12:00", "to": "13:30"}, "2026-01-01T12:00", True), ({"from": "12:00", "to": "13:30"}, "2026-01-01T13:30", False), ({"from": "12:00", "to": "13:30"}, "2026-01-01T02:00", False),
    ],
)  # fmt: skip
def test_hours_follow_the_clocks_of_their_zone(hours: dict[str, Any], utc: str, quiet: bool) -> None:
    assert is_within(QuietHours.model_validate(hours), datetime.fromisoformat(utc).replace(tzinfo=UTC)) is quiet


@pytest.mark.parametrize(
    ("passes", "told"), [("critical", ("critical",)), ("warning", ("warning", "critical")), ("info", SEVERITIES), ("none", ())]
)
def test_only_what_is_urgent_enough_passes(passes: str, told: tuple[str, ...]) -> None:
    hours = QuietHours.model_validate({"from": "11:00", "to": "13:00", "except": passes})
    assert passing(hours, NOON) == told
    assert passing(hours, NOON + HOUR) == SEVERITIES
    assert passing(None, NOON) == SEVERITIES


async def test_message_waits_for_the_end_of_quiet_hours(quiet_rig: Rig, channel: ListChannel) -> None:
    await quiet_rig.tell(detected(), resolved())
    await quiet_rig.deliver(within=7 * HOUR + 59 * HOUR / 60)
    assert channel.sent == []
    await quiet_rig.later(HOUR / 60)
    assert channel.told() == ["drift.detected 7", "drift.resolved 7"]


async def test_what_is_held_back_shows_in_its_own_gauge(quiet_rig: Rig) -> None:
    await quiet_rig.tell(detected())
    await quiet_rig.deliver(within=HOUR)
    assert quiet_rig.count("held_deliveries", channel="ops") == 1
    assert quiet_rig.count("pending_deliveries", channel="ops") == 0
    assert quiet_rig.count("oldest_delivery_age_seconds", channel="ops") == 0


async def test_critical_message_passes_those_held_back_before_it(quiet_rig: Rig, channel: ListChannel) -> None:
    await quiet_rig.tell(detected(), FAILED)
    await quiet_rig.deliver(within=HOUR)
    assert channel.told() == ["training.failed 7"]


async def test_hours_of_one_channel_do_not_hold_up_another(tmp_path: Path) -> None:
    quiet, loud = ListChannel(), ListChannel()
    rig = Rig(tmp_path, {"ops": quiet, "pager": loud})
    rig.queues["ops"].link = type(rig.queues["ops"].link)(
        "ops", quiet, HOUR * 0, "a", QuietHours.model_validate({"from": "00:01", "to": "00:00"})
    )
    await rig.tell(detected())
    await rig.deliver("ops")
    await rig.deliver("pager")
    rig.close()
    assert (quiet.told(), loud.told()) == ([], ["drift.detected 7"])
