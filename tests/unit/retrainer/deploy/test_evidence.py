"""What labels and captures say, and the arithmetic of the bandit."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from driftsonde.retrainer.deploy.evidence import Captures, Comparison, Tally, rewards
from driftsonde.retrainer.deploy.thompson import better, share

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_rewards_are_counted_by_variant() -> None:
    lines = [{"variant": "a", "reward": 1}, {"variant": "a", "reward": 0.25}, {"variant": "b", "reward": False}]
    assert rewards([json.dumps(line).encode() for line in lines], "reward") == {"a": Tally(2, 1.25), "b": Tally(1, 0)}


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"\xff", b'{"variant": "a"}', b'{"variant": 1, "reward": 1}', b'{"variant": "a", "reward": "1"}',
     b'{"variant": "a", "reward": 1.5}', b'{"variant": "a", "reward": -1}', b'{"variant": "a", "reward": NaN}'],
)  # fmt: skip
def test_lines_that_are_no_rewards_count_for_nothing(line: bytes) -> None:
    assert rewards([line], "reward") == {}


def captured(key: str, answer: str, *, at: datetime = NOW, encoding: str = "CSV", inference: str | None = None) -> bytes:
    data = base64.b64encode(answer.encode()).decode() if encoding == "BASE64" else answer
    meta: dict[str, Any] = {"eventId": key, "inferenceTime": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    if inference:
        meta["inferenceId"] = inference
    output = {"observedContentType": "text/csv", "mode": "OUTPUT", "data": data, "encoding": encoding}
    return json.dumps({"captureData": {"endpointOutput": output}, "eventMetadata": meta, "eventVersion": "0"}).encode()


def compare(production: list[bytes], shadow: list[bytes], tolerance: float = 0.1) -> Captures:
    comparison = Comparison(NOW, tolerance)
    for line in production:
        comparison.add(line, shadow=False)
    for line in shadow:
        comparison.add(line, shadow=True)
    return comparison.result()


@pytest.mark.parametrize(
    ("one", "other", "agreed"),
    [
        ("0.5\n", "0.59", 1), ("0.5", "0.61", 0), ("0.1,0.9", "0.1,0.95", 1), ("0.1,0.9", "0.1", 0), ("0.1\n0.2", "0.1\n0.2\n", 1),
        ("yes", "yes", 1), ("yes", "no", 0), ("nan", "0.5", 0),
    ],
)  # fmt: skip
def test_answers_agree_within_the_tolerance(one: str, other: str, agreed: int) -> None:
    assert compare([captured("1", one)], [captured("1", other)]) == Captures(1, 1, agreed)


def test_answers_are_paired_by_inference_id_before_event_id() -> None:
    production = [captured("1", "0.1", inference="x"), captured("2", "0.2")]
    shadow = [captured("9", "0.1", inference="x", encoding="BASE64"), captured("2", "0.2")]
    assert compare(production, shadow) == Captures(2, 2, 2)


def test_missing_and_foreign_captures_are_told_apart() -> None:
    production = [
        captured("1", "0.1"),
        captured("2", "0.1"),
        b"not json",
        b'{"eventMetadata": {}}',
        captured("3", "x").replace(b"CSV", b"BASE64"),
    ]
    assert compare(production, [captured("1", "0.1"), captured("7", "0.1")]) == Captures(2, 1, 1)


def test_captures_too_young_are_left_out() -> None:
    late = NOW + timedelta(seconds=1)
    assert compare([captured("1", "0.1"), captured("2", "0.1", at=late)], [captured("1", "0.1")]) == Captures(1, 1, 1)


def test_probability_agrees_with_integrating_the_posteriors() -> None:
    new, old = Tally(40, 26), Tally(60, 33)
    x = np.linspace(0, 1, 20_001)[1:-1]
    densities = [x**tally.total * (1 - x) ** (tally.rows - tally.total) for tally in (new, old)]
    first, second = (density / density.sum() for density in densities)
    exact = float((first * np.cumsum(second)).sum())
    assert better(new, old, "seed") == pytest.approx(exact, abs=0.03)


def test_same_seed_gives_the_same_probability() -> None:
    assert better(Tally(9, 5), Tally(8, 4), "a") == better(Tally(9, 5), Tally(8, 4), "a")
    assert better(Tally(9, 5), Tally(8, 4), "a") != better(Tally(9, 5), Tally(8, 4), "b")


@pytest.mark.parametrize(("probability", "given"), [(0.0, 0.05), (0.03, 0.05), (0.5, 0.5), (0.97, 0.95), (1.0, 0.95)])
def test_share_of_traffic_keeps_the_floor(probability: float, given: float) -> None:
    assert share(probability, 0.05) == given


def test_better_arm_wins_in_nearly_every_simulated_trial() -> None:
    wins, source = 0, random.Random(7)
    for trial in range(40):
        new, old, part = Tally(), Tally(), 0.5
        for step in range(60):
            arms = [source.random() < part for _ in range(20)]
            new += Tally(sum(arms), sum(source.random() < 0.6 for arm in arms if arm))
            old += Tally(20 - sum(arms), sum(source.random() < 0.4 for arm in arms if not arm))
            part = share(better(new, old, f"{trial}/{step}") if step % 6 == 5 else part, 0.05)
        wins += part > 0.9
    assert wins >= 39
