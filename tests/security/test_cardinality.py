"""The labels of metrics come from configuration and closed lists: data makes no series, however much of it there is."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from driftsonde.core.errors import POISON_REASONS, PoisonError
from driftsonde.core.testing.queue import MemoryLease, MemoryQueue
from driftsonde.core.text import clean
from driftsonde.detector.features import Column, columns_of
from driftsonde.detector.gauges import Gauges
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.notifier.metrics import NotifierMetrics
from driftsonde.retrainer.metrics import RetrainerMetrics
from unit.detector.support import BUCKET, Rig, message
from unit.notifier.support import ListChannel, rejected
from unit.notifier.support import Rig as NotifierRig

_RANDOM = random.Random(7)
_MOST_SERIES = 400
_DRIFTED = {"status": "drift", "check": "ks", "score": 0.5, "critical": 0.1, "lookback": 1, "n": 10}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A detector."""
    made = Rig(f"sqlite:///{tmp_path}/detector.db")
    yield made
    made.close()


def series(metrics: DetectorMetrics | NotifierMetrics | RetrainerMetrics) -> set[tuple[str, ...]]:
    """Return every series: its name and labels."""
    return {(sample.name, *sorted(map(str, sample.labels.items()))) for family in metrics.registry.collect() for sample in family.samples}


def word(length: int = 12) -> str:
    """Return a random text, printable or not."""
    return "".join(chr(_RANDOM.randrange(35, 0x2FF)) for _ in range(length))


def record(bucket: str, key: str, name: str = "ObjectCreated:Put", version: str = "2.1") -> dict[str, object]:
    """Return one record of a notification."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": key}}
    return {"eventVersion": version, "eventName": name, "eventTime": "2026-03-01T12:00:00Z", "s3": s3}


async def handle(rig: Rig, body: str) -> None:
    """Handle a message; poison is counted as the consumer does."""
    try:
        await rig.intake.handle(MemoryLease(MemoryQueue(), body, 1))
    except PoisonError as exc:
        rig.metrics.drops.labels(exc.reason).inc()


async def test_random_keys_buckets_and_event_names_make_no_series(rig: Rig) -> None:
    before = series(rig.metrics)
    for _ in range(100):
        good = [record(f"b-{_RANDOM.random()}", word().encode().hex()) for _ in range(600)]
        bad = [record(word(), f"%{word()}", word()) for _ in range(200)] + [record(BUCKET, "in/x", version=word()) for _ in range(200)]
        await handle(rig, json.dumps({"Records": good + bad}))
    assert sum(rig.outcomes().values()) == 100_000
    assert series(rig.metrics) == before
    assert len(before) < _MOST_SERIES


async def test_random_column_names_make_no_series(rig: Rig) -> None:
    await rig.adopt()
    before = series(rig.metrics)
    for _ in range(5):  # 2,000 columns are the most that a reader takes
        names = [f"{word()}{n}" for n in range(1_990)]
        body = ",".join(["x", "c", *(f'"{name}"' for name in names)]) + "\n" + "1,a" + "," * len(names) + "\n"
        await handle(rig, message(rig.put(f"in/{word(6)}.csv", body.encode())))
    await rig.evaluated()
    assert rig.outcomes() == {"counted": 5}
    assert series(rig.metrics) == before


HOSTILE = ('"', "\\", "\\n", "a\nb", 'x"} 1\ndriftsonde_detector_fake 1', "\ud800", "\u202egnp", "\x00", "{}", " ", "é" * 500, "\r\n")


async def test_hostile_column_names_stay_labels(rig: Rig) -> None:
    gauges = Gauges(rig.database, rig.config, rig.metrics, rig.clock, features=100)
    gauges._show_columns({"churn": columns_of(json.dumps({"columns": dict.fromkeys(HOSTILE, _DRIFTED)}))})
    page = generate_latest(rig.metrics.registry).decode()
    found = {family.name: family for family in text_string_to_metric_families(page)}
    assert "driftsonde_detector_fake" not in found
    read = {sample.labels["column"]: sample.value for sample in found["driftsonde_detector_score"].samples}
    assert set(read) == {clean(name, 120) for name in HOSTILE}
    assert set(read.values()) == {0.5}


async def test_columns_make_no_more_series_than_the_cap(rig: Rig) -> None:
    gauges = Gauges(rig.database, rig.config, rig.metrics, rig.clock, features=100)
    before = len(series(rig.metrics))
    for _ in range(3):
        gauges._show_columns({"churn": [Column(f"{word()}{n}", True, "ks", 1.0, 0.1, 100) for n in range(10_000)]})
        assert len(series(rig.metrics)) - before == 3 * 2_000 + 4  # and what is said of the monitor, and what was left out


async def test_random_bodies_make_no_series(rig: Rig) -> None:
    before = series(rig.metrics)
    for _ in range(2_000):
        await handle(rig, _RANDOM.choice([word(50), json.dumps({word(): word()}), json.dumps({"Records": [word()]}), json.dumps([word()])]))
    assert set(rig.outcomes()) <= set(POISON_REASONS)
    assert series(rig.metrics) == before


async def test_random_reasons_and_keys_make_no_series_in_the_notifier(tmp_path: Path) -> None:
    rig = NotifierRig(tmp_path, {"ops": ListChannel()})
    await rig.tell(rejected("in/first"))
    await rig.deliver()
    before = series(rig.metrics)
    for _ in range(100):
        await rig.tell(rejected(word(), word()))
    await rig.deliver()
    rig.close()
    assert series(rig.metrics) == before


@pytest.mark.parametrize("metrics", [DetectorMetrics(), NotifierMetrics(["a", "b"]), RetrainerMetrics()], ids=lambda m: type(m).__name__)
def test_page_of_every_service_stays_small(metrics: DetectorMetrics | NotifierMetrics | RetrainerMetrics) -> None:
    assert len(series(metrics)) < _MOST_SERIES
    assert len(generate_latest(metrics.registry)) < 100_000
