"""The order of writes keeps every promise under random crashes; each planted mistake breaks one."""

from __future__ import annotations

from dataclasses import fields

import pytest

from .schedule import run, violations
from .world import Protocol

_SCHEDULES = 20_000
"""`make model` runs 100,000 of them, `make fault` 1,000,000."""


def test_no_schedule_breaks_a_promise() -> None:
    assert [seed for seed in range(_SCHEDULES) if violations(seed, Protocol())] == []


@pytest.mark.parametrize("mistake", [field.name for field in fields(Protocol)])
def test_a_planted_mistake_is_found(mistake: str) -> None:
    protocol = Protocol(**{mistake: True})
    assert any(violations(seed, protocol) for seed in range(5_000))


def test_schedules_crash_lose_and_deliver_twice() -> None:
    worlds = [run(seed, Protocol()) for seed in range(200)]
    assert sum(world.crashes > 3 for world in worlds) > 20
    assert any(len(world.detector.episodes) == 2 for world in worlds)
    assert any(max(world.notifier.posted.values(), default=0) > 1 for world in worlds)
    assert any(plan.outcome == "failed" for world in worlds for plan in world.retrainer.plans.values()) or all(
        plan.outcome == "promoted" for world in worlds for plan in world.retrainer.plans.values()
    )
