"""What the detector's metrics say of its store: the same from every replica, gone when its subject is gone, and never too much."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health
from driftsonde.core.metrics import keep_showing
from driftsonde.core.testing.queue import MemoryLease, MemoryQueue
from driftsonde.detector.features import Column, columns_of, picked
from driftsonde.detector.gauges import Gauges
from driftsonde.detector.leases import Leases
from driftsonde.detector.metrics import VERDICTS, DetectorMetrics

from .conftest import MakeRig
from .support import GARBAGE, HOUR, NOON, Rig, config, drop_body

DRIFT = drop_body(200, 1.0, 1)


def gauges_of(rig: Rig, *, features: int = 10, cap: int = 2_000) -> Gauges:
    """Return what reads a rig's store."""
    return Gauges(rig.database, rig.config, rig.metrics, rig.clock, features=features, cap=cap)


def series(metrics: DetectorMetrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels."""
    families = (family for family in metrics.registry.collect() if family.name == f"driftsonde_detector_{name}")
    return {tuple(sample.labels.values()): sample.value for family in families for sample in family.samples}


async def drifting(rig: Rig) -> Rig:
    """Judge a quiet drop and one that drifts, and leave one that cannot be read."""
    await rig.adopt()
    for number, body in enumerate([drop_body(), DRIFT]):
        await rig.take(rig.put(f"in/{number}", body))
        await rig.evaluated()
    await rig.take(rig.put("in/bad", GARBAGE))
    return rig


async def test_fresh_store_shows_a_zero_for_whatever_can_be_counted(make_rig: MakeRig) -> None:
    rig = make_rig(monitors=2)
    await gauges_of(rig).refresh()
    assert series(rig.metrics, "pending_drops") == series(rig.metrics, "rejected_drops") == {("churn",): 0, ("fraud",): 0}
    assert series(rig.metrics, "open_episodes")["fraud", "untrusted"] == 0
    assert series(rig.metrics, "episode_opened_timestamp_seconds")["churn", "drift"] == 0
    assert series(rig.metrics, "recent_windows")["churn", "drift"] == 0
    assert series(rig.metrics, "columns_left_out") == {("rank",): 0, ("cap",): 0}
    assert series(rig.metrics, "score") == series(rig.metrics, "last_drop_timestamp_seconds") == series(rig.metrics, "newest_verdict") == {}
    assert rig.counted("state_read_timestamp_seconds") == NOON.timestamp()


async def test_newest_window_is_shown_by_every_replica_alike(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    replica = rig.replica()
    pages = []
    for each in (rig, replica):
        await gauges_of(each).refresh()
        shown = {name: series(each.metrics, name) for name in ("score", "threshold", "newest_verdict", "open_episodes", "rejected_drops")}
        pages.append(shown)
    assert pages[0] == pages[1]
    assert pages[0]["newest_verdict"] == {("churn", word): float(word == "drift") for word in VERDICTS}
    assert pages[0]["score"]["churn", "x", "ks"] >= pages[0]["threshold"]["churn", "x", "ks"]
    assert series(rig.metrics, "score_values")["churn", "x", "ks"] == 200
    assert series(rig.metrics, "worst_score_ratio")[("churn",)] >= 1
    assert series(rig.metrics, "drifted_columns") == {("churn",): 1}
    assert series(rig.metrics, "newest_window_rows") == {("churn",): 200}
    assert pages[0]["open_episodes"]["churn", "drift"] == 1
    assert pages[0]["rejected_drops"] == {("churn",): 1}
    assert series(rig.metrics, "dirty_windows") == {("churn",): 1}
    windows = series(rig.metrics, "recent_windows")
    assert (windows["churn", "ok"], windows["churn", "drift"], windows["churn", "none"]) == (1, 1, 1)


async def test_window_that_is_judged_anew_is_read_anew(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    await rig.take(rig.put("in/1", DRIFT))
    await rig.evaluated()
    gauges = gauges_of(rig)
    await gauges.refresh()
    before = series(rig.metrics, "worst_score_ratio")[("churn",)]
    await rig.take(rig.put("in/1", drop_body(200, 3.0, 2)))  # the same object, and window, with other content
    await rig.evaluated()
    await gauges.refresh()
    assert series(rig.metrics, "worst_score_ratio")[("churn",)] > before


async def test_feed_shows_its_newest_drop_and_its_longest_silence(make_rig: MakeRig) -> None:
    rig = await make_rig().adopt()
    gauges = gauges_of(rig)
    await gauges.refresh()
    assert (
        series(rig.metrics, "last_drop_timestamp_seconds")
        == series(rig.metrics, "baseline_timestamp_seconds")
        == {("churn",): NOON.timestamp()}
    )
    for number, hours in enumerate((1, 2, 6)):
        await gauges.refresh()
        assert series(rig.metrics, "drop_interval_seconds") == {}
        await rig.take(rig.put(f"in/{number}", drop_body(), at=NOON + hours * HOUR))
    await rig.take(rig.remove("in/0", at=NOON + 9 * HOUR))  # which is no drop
    await gauges.refresh()
    assert series(rig.metrics, "last_drop_timestamp_seconds") == {("churn",): (NOON + 6 * HOUR).timestamp()}
    assert series(rig.metrics, "drop_interval_seconds") == {("churn",): 4 * 3600}


async def test_monitor_that_is_gone_disappears(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig(monitors=2))
    await gauges_of(rig).refresh()
    assert ("churn", "x", "ks") in series(rig.metrics, "score")
    rig.config = config(2).model_copy(update={"monitors": rig.config.monitors[1:]})
    await gauges_of(rig).refresh()
    assert all(
        "churn" not in labels
        for name in ("score", "pending_drops", "open_episodes", "newest_verdict")
        for labels in series(rig.metrics, name)
    )


async def test_drop_without_a_baseline_is_shown_as_pending(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.take(rig.put("in/early", drop_body()))
    await gauges_of(rig).refresh()
    assert series(rig.metrics, "pending_drops") == {("churn",): 1}


async def test_only_the_first_columns_and_those_that_drifted_have_series(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    await gauges_of(rig, features=0).refresh()
    assert [labels[1] for labels in series(rig.metrics, "score")] == ["x"]
    assert series(rig.metrics, "columns_left_out") == {("rank",): 1, ("cap",): 0}
    await gauges_of(rig, cap=0).refresh()
    assert series(rig.metrics, "score") == {}
    assert series(rig.metrics, "columns_left_out") == {("rank",): 0, ("cap",): 2}


def columns(count: int, drifted: int) -> list[Column]:
    """Return columns, the first of them drifted, in the order of `columns_of`."""
    return [Column(f"c{place:05}", place < drifted, "ks", 1 - place / count, 0.5, 10) for place in range(count)]


def test_hard_cap_holds_over_all_monitors_and_drift_comes_first() -> None:
    shown, hidden = picked({f"m{number}": columns(1_000, 30) for number in range(100)}, top=40, cap=2_000)
    assert len(shown) == 2_000
    assert all(column.drifted for column in shown.values())
    assert hidden == {"rank": 100 * 960, "cap": 100 * 40 - 2_000}


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (None, []),
        ('{"columns": {}}', []),
        ('{"columns": {"a": {"status": "missing_column"}}}', [Column("a", True, "", 0.0, 0.0, None)]),
        (
            '{"columns": {"a": {"status": "ok", "check": "ks", "score": 0.1, "critical": Infinity, "lookback": 1}}}',
            [Column("a", False, "ks", 0.1, float("inf"), None)],
        ),
    ],
)
def test_stored_details_of_every_age_are_read(detail: str | None, expected: list[Column]) -> None:
    assert columns_of(detail) == expected


def test_threshold_of_zero_is_passed_by_any_score() -> None:
    assert Column("a", True, "nulls", 0.1, 0.0, 5).ratio > 1e6
    assert Column("a", False, "nulls", 0.0, 0.0, 5).ratio == 0


async def test_leases_show_how_many_are_held_and_how_long_messages_waited(rig: Rig) -> None:
    leases, queue = Leases(rig.metrics, rig.clock), MemoryQueue("a", "b", sent_at=rig.clock.now() - timedelta(minutes=2))
    taken = await queue.receive(2)
    leases.polled(0.5, taken)
    leases.show()
    assert rig.counted("leases_held") == 2
    assert rig.counted("last_received_age_seconds") == 120
    assert rig.counted("time_in_queue_seconds_count") == 2
    assert rig.counted("stage_seconds_count", stage="receive") == 1
    assert rig.counted("oldest_lease_age_seconds") > 0
    for lease in taken:
        leases.ended(lease)
    leases.polled(0.5, [])
    leases.show()
    assert rig.counted("leases_held") == rig.counted("oldest_lease_age_seconds") == rig.counted("last_received_age_seconds") == 0


async def test_reading_and_counting_are_told_apart(make_rig: MakeRig) -> None:
    rig = await drifting(make_rig())
    for stage in ("read", "sketch", "commit"):
        assert rig.counted("stage_seconds_count", stage=stage) >= 2
    await rig.say()
    assert rig.counted("stage_seconds_count", stage="publish") == rig.counted("published_events_total")


async def test_what_cannot_be_shown_does_not_stop_the_loop() -> None:
    stop, failures = asyncio.Event(), [RetryableError("database is away"), KeyError("a mistake")]

    async def show() -> None:
        if failures:
            raise failures.pop(0)
        stop.set()

    await asyncio.wait_for(keep_showing(show, stop, seconds=0.001), 5)
    assert not failures


def test_health_is_shown_by_part() -> None:
    metrics, health = DetectorMetrics(), Health()
    health.started()
    health.report("bus", "away")
    metrics.service.show_health(health)
    assert series(metrics, "ready") == {(): 0}
    assert series(metrics, "problem") == {("bus",): 1}
    health.report("bus", None)
    metrics.service.show_health(health)
    assert series(metrics, "ready") == {(): 1}
    assert series(metrics, "problem") == {}


def test_every_metric_is_named_by_the_conventions() -> None:
    metrics: Mapping[str, Any] = {metric.name: metric for metric in DetectorMetrics().definitions}
    for family in DetectorMetrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name in metrics
        assert (family.type == "counter") == name.endswith("_total")
        assert family.type != "histogram" or name.endswith("_seconds")
        assert family.documentation.endswith(".")


async def test_lease_of_a_memory_queue_knows_when_it_was_sent() -> None:
    assert MemoryLease(MemoryQueue(sent_at=NOON), "body", 1).sent_at == NOON


def test_page_of_a_full_detector_can_be_rendered() -> None:
    metrics = DetectorMetrics()
    shown, _ = picked({f"m{number}": columns(50, 50) for number in range(60)}, top=10, cap=2_000)
    metrics.score.show({labels: column.score for labels, column in shown.items()})
    assert generate_latest(metrics.registry).count(b"driftsonde_detector_score{") == 2_000
