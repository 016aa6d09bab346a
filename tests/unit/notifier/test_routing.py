"""Which channel is told what: by monitor, severity and type."""

from __future__ import annotations

from typing import Any

import pytest

from driftsonde.core.config import parse_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.events import DataUntrusted, DriftResolved, Fact, PlanWaiting
from driftsonde.notifier.grouping import channels_for, check_events

from .support import NOON, ListChannel, Rig, config, detected, rejected, resolved

UNTRUSTED = DataUntrusted(**detected().model_dump(exclude={"drops", "trainable"}))
UNTRUSTED_OVER = DriftResolved(monitor="churn", episode=7, sequence=2, kind="untrusted", cause="recovered")
WAITING = PlanWaiting(monitor="churn", episode=7, plan="p", reason="cooldown", until=NOON)


@pytest.mark.parametrize(
    ("severity", "told"),
    [
        ("info", [detected(), UNTRUSTED, resolved(), UNTRUSTED_OVER, rejected("k"), WAITING]),
        ("warning", [detected(), UNTRUSTED, resolved(), UNTRUSTED_OVER, rejected("k")]),
        ("critical", [UNTRUSTED, UNTRUSTED_OVER]),
    ],
)
def test_channel_hears_of_its_severity_and_above(severity: str, told: list[Fact]) -> None:
    everything = [detected(), UNTRUSTED, resolved(), UNTRUSTED_OVER, rejected("k"), WAITING]
    rules = config(("ops",), severity=severity)
    assert [fact for fact in everything if channels_for(rules, fact)] == told


def test_channel_hears_only_the_types_it_names() -> None:
    rules = config(("ops",), events=["drift.resolved", "drop.rejected"])
    assert channels_for(rules, detected()) == ()
    assert channels_for(rules, resolved()) == channels_for(rules, rejected("k")) == ("ops",)


def test_each_monitor_tells_its_own_channels() -> None:
    raw = config(("a", "b")).model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["monitors"][0]["notify"], raw["monitors"][1]["notify"] = ["a"], ["b"]
    both = parse_config(raw, source="test")
    assert channels_for(both, detected(monitor="churn")) == ("a",)
    assert channels_for(both, detected(monitor="fraud")) == ("b",)


@pytest.mark.parametrize("wanted", ["training.started", "delivery.finished"])
def test_event_that_is_told_to_nobody_cannot_be_asked_for(wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf"channels\.ops\.events: '{wanted}' is told to nobody; there are .*drift\.detected"):
        check_events(config(("ops",), events=["drift.detected", wanted]))
    check_events(config(("ops",), events=["drift.detected"]))


async def test_end_of_an_episode_is_noted_even_if_nobody_is_told(tmp_path: Any, channel: ListChannel) -> None:
    rig = Rig(tmp_path, {"ops": channel}, events=["drift.detected"], remind="1h")
    await rig.tell(detected(), resolved())
    await rig.deliver()
    await rig.later(rig.config.channels["ops"].remind or NOON - NOON)
    assert channel.told() == ["drift.detected 7"]
    assert rig.count("events_total", outcome="unrouted") == 1
    rig.close()
