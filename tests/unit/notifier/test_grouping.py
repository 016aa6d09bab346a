"""Who is told what, and what is too old to tell."""

from __future__ import annotations

from datetime import timedelta

import pytest

from driftsonde.core.events import FACTS, BaselineAdopted, BaselineRef, BatchFinished, DataUntrusted, TrainingStarted
from driftsonde.notifier.grouping import TOLD_TYPES, Incident, channels_for, folding, group_key, severity

from .support import ListChannel, Rig, config, detected, rejected, resolved


async def test_resolution_is_told_after_detection(rig: Rig, channel: ListChannel) -> None:
    await rig.tell(detected(), resolved())
    await rig.deliver(within=timedelta(seconds=5))
    assert [event.data.TYPE for event in channel.sent] == ["drift.detected", "drift.resolved"]


@pytest.mark.parametrize("sequence", [1, 2, 3])
async def test_detection_after_resolution_is_logged_not_sent(rig: Rig, channel: ListChannel, sequence: int) -> None:
    await rig.tell(resolved(sequence=2), detected(sequence=sequence))
    await rig.deliver(within=timedelta(hours=1))
    assert [event.data.TYPE for event in channel.sent] == ["drift.resolved"]
    assert [state for state, _ in rig.log()] == ["delivered", "stale"]
    assert rig.outcomes == ["queued", "stale"]


async def test_other_episode_is_not_stale(rig: Rig) -> None:
    await rig.tell(resolved(7, 9), detected(8, 1), detected(7, 9, monitor="fraud"))
    assert rig.outcomes == ["queued"] * 3


def test_sequence_counts_per_source() -> None:
    incident = Incident().advance(detected(sequence=5))
    started = TrainingStarted(monitor="churn", episode=7, sequence=1, plan="p", job="j")
    assert not incident.is_stale(started)
    assert incident.is_stale(detected(sequence=4))
    assert incident.advance(detected(sequence=2)).sequences == {"detector": 5}


async def test_event_of_unknown_monitor_is_not_noted(rig: Rig) -> None:
    await rig.tell(detected(monitor="gone"))
    assert rig.outcomes == []
    assert rig.count("events_total", outcome="unrouted") == 1


async def test_queued_event_wakes_its_channels(rig: Rig) -> None:
    await rig.tell(detected())
    assert rig.woken == ["ops"]


def test_steps_on_the_way_are_not_told() -> None:
    untold = set(FACTS) - set(TOLD_TYPES)
    assert untold == {
        "verdict.revised", "baseline.adopted", "plan.accepted", "training.started", "training.succeeded", "delivery.finished",
        "drift.confirmed", "decision.recorded", "deployment.started",
    }  # fmt: skip
    adopted = BaselineAdopted(monitor="churn", baseline=BaselineRef(version=1, digest="d", rows=1))
    assert channels_for(config(), adopted) == ()


def test_channel_named_twice_is_told_once() -> None:
    assert channels_for(config(("ops", "ops")), detected()) == ("ops",)


def test_group_is_monitor_and_episode() -> None:
    assert group_key(detected(7)) == "churn/7"
    assert group_key(rejected("k")) == "churn"


def test_failed_predictions_are_critical() -> None:
    done = BatchFinished(monitor="churn", episode=1, plan="p", job="j", state="succeeded", output="s3://a/b")
    assert severity(done) == "info"
    assert severity(done.model_copy(update={"state": "failed"})) == "critical"


def test_hostile_reason_fits_the_fold_key() -> None:
    fold = folding(rejected("k", "x" * 10_000))
    assert fold is not None
    assert len(fold[0]) <= 80
    assert folding(detected()) is None
    assert severity(DataUntrusted(**detected().model_dump(exclude={"drops", "trainable"}))) == "critical"
