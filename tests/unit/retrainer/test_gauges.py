"""What the retrainer's metrics say of its store, and of the jobs that ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from driftsonde.core.config import parse_config
from driftsonde.core.store.engine import Database
from driftsonde.core.testing.jobs import FakeTrainingJobs
from driftsonde.retrainer.metrics import STEPS
from driftsonde.retrainer.planner import REASONS
from driftsonde.retrainer.store import ACTIVE, UNDECIDED

from .conftest import Retrainer, make_config


async def test_fresh_store_shows_zeros(retrainer: Retrainer) -> None:
    assert {await retrainer.shown("open_plans", state=state) for state in (*UNDECIDED, *ACTIVE)} == {0}
    assert {await retrainer.shown("waiting_plans", reason=reason) for reason in REASONS} == {0}
    assert {await retrainer.shown("running_jobs", step=step) for step in STEPS} == {0}
    assert {await retrainer.shown("oldest_job_age_seconds", step=step) for step in STEPS} == {0}
    assert await retrainer.shown("trainings_left") == 10
    assert await retrainer.shown("monitor_trainings_left", monitor="churn-0") == 1
    assert await retrainer.shown("model_timestamp_seconds", monitor="churn-0") == 0
    assert await retrainer.shown("training_timestamp_seconds", monitor="churn-0") == 0
    assert await retrainer.shown("spent_30_days", currency="USD") == 0
    assert await retrainer.shown("spend_left", currency="USD") is None
    assert await retrainer.shown("state_read_timestamp_seconds") == retrainer.clock.now().timestamp()


async def test_plan_is_shown_in_its_state_from_any_replica(retrainer: Retrainer, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    retrainer.clock.advance(timedelta(minutes=5))
    other = Retrainer(retrainer.database, retrainer.config)
    other.clock.advance(retrainer.clock.now() - other.clock.now())
    for replica in (retrainer, other):
        assert await replica.shown("open_plans", state="preparing") == 1
        assert await replica.shown("oldest_plan_age_seconds", state="preparing") == 300
        assert await replica.shown("running_jobs", step="prepare") == 1
        assert await replica.shown("oldest_job_age_seconds", step="prepare") == 300
        assert await replica.shown("active_plans", monitor="churn-0") == 1
        assert await replica.shown("trainings_left") == 9
        assert await replica.shown("monitor_trainings_left", monitor="churn-0") == 0
        assert await replica.shown("training_timestamp_seconds", monitor="churn-0") == retrainer.clock.now().timestamp() - 300


async def test_plan_that_waits_is_shown_with_its_reason(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(approval="ask")
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert await retrainer.shown("waiting_plans", reason="approval") == 1
    assert await retrainer.shown("open_plans", state="waiting") == 1


async def test_champion_is_shown_with_the_metric_of_its_gate(retrainer: Retrainer, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.whole_plan()
    assert await retrainer.shown("model_timestamp_seconds", monitor="churn-0") == retrainer.clock.now().timestamp()
    assert await retrainer.shown("model_score", monitor="churn-0", metric="auc") == 0.9
    assert await retrainer.shown("open_plans", state="transforming") == 0


async def test_monitor_that_is_gone_disappears(retrainer: Retrainer, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert await retrainer.shown("active_plans", monitor="churn-0") == 1
    retrainer.gauges._retrained = {}  # as after a restart with another configuration, but with the same metrics
    assert await retrainer.shown("active_plans", monitor="churn-0") is None
    assert await retrainer.shown("model_timestamp_seconds", monitor="churn-0") is None


async def test_job_counts_its_time_and_its_price_once(database: Database, facts: Any) -> None:
    raw = make_config().model_dump(mode="json", exclude_unset=True)
    raw["budget"] = {"prices": {"ml.m5.large": 3600.0}, "currency": "EUR", "spend_per_month": 1_000_000.0}
    retrainer = Retrainer(database, parse_config(raw, source="test"))
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.whole_plan()
    seconds = await retrainer.shown("job_seconds_sum", step="train")
    assert seconds
    assert await retrainer.shown("job_seconds_count", step="train") == 1
    assert await retrainer.shown("job_cost_total", step="train", currency="EUR") == pytest.approx(seconds)
    assert await retrainer.shown("job_cost_total", step="execute", currency="EUR") == 0
    spent = await retrainer.shown("spent_30_days", currency="EUR")
    assert spent
    assert await retrainer.shown("spend_left", currency="EUR") == 1_000_000 - spent


async def test_failed_job_is_counted_with_its_time(retrainer: Retrainer, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    jobs: FakeTrainingJobs = retrainer.jobs
    jobs.finish(jobs.names("prepare")[-1], "failed")
    await retrainer.rounds()
    assert await retrainer.shown("job_failures_total", step="prepare") == 1
    assert await retrainer.shown("job_seconds_count", step="prepare") == 1
