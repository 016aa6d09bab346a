"""From false alarms per quarter to the policy: the figures of the documentation, and what cannot be promised."""

from __future__ import annotations

from datetime import timedelta

import pytest

from driftsonde.core.config import Policy
from driftsonde.core.drift.budget import MAX_ALPHA, MIN_ALPHA, QUARTER, alarm_budget
from driftsonde.core.drift.policy import Parameters

DAY = timedelta(days=1)


def test_default_policy_sees_what_the_document_says() -> None:
    found = alarm_budget(0.001 * (QUARTER / DAY), DAY, Parameters(), columns=50, baseline_rows=20_000)
    assert found.alpha == 0.001
    assert found.level == pytest.approx(0.001 / (5 * 50 * 6))
    seen = {n: round(distance, 3) for n, distance in found.seen}
    assert seen == {100: 0.324, 300: 0.209, 1_000: 0.138, 3_000: 0.103, 10_000: 0.100}


def test_alarms_are_shared_by_windows_and_monitors() -> None:
    found = alarm_budget(1, DAY, Parameters(), monitors=3)
    assert found.windows == pytest.approx(3 * 91.3125)
    assert found.exact == pytest.approx(1 / 273.9375)
    assert found.alpha == 0.00365
    assert alarm_budget(1, DAY / 24, Parameters()).windows == pytest.approx(24 * 91.3125)


@pytest.mark.parametrize("alarms", [0.013, 0.5, 1, 7, 10])
def test_rounding_never_spends_more_than_the_budget(alarms: float) -> None:
    found = alarm_budget(alarms, DAY, Parameters())
    assert 0.99 * alarms < found.expected <= alarms * (1 + 1e-9)
    assert not found.note


def test_budget_beyond_what_may_be_configured_is_clamped() -> None:
    many, few = alarm_budget(1_000, DAY, Parameters()), alarm_budget(1e-9, DAY, Parameters())
    assert (many.alpha, few.alpha) == (MAX_ALPHA, MIN_ALPHA)
    assert "stays at 0.2" in many.note
    assert "stays at 1e-09" in few.note
    assert many.expected < 1_000


def test_every_budget_makes_a_policy_that_is_accepted() -> None:
    for alarms in (1e-12, 0.3, 4, 1e6):
        assert Policy(alpha=alarm_budget(alarms, DAY, Parameters()).alpha)


@pytest.mark.parametrize(
    "wrong", [{"false_alarms": 0}, {"false_alarms": float("inf")}, {"window": timedelta(0)}, {"columns": 0}, {"monitors": 0}]
)
def test_budget_of_nothing_is_refused(wrong: dict[str, object]) -> None:
    given: dict[str, object] = {"false_alarms": 1, "window": DAY, **wrong}
    with pytest.raises(ValueError, match="more than zero"):
        alarm_budget(parameters=Parameters(), **given)  # type: ignore[arg-type]  # wrong on purpose
