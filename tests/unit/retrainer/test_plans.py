"""From an episode to a terminal plan: what is trained, what waits, what is refused, and what survives a crash."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from driftsonde.core.errors import RetryableError, Throttled
from driftsonde.core.events import PlanFact
from driftsonde.retrainer.watcher import VANISHED


async def test_drift_leads_to_model_predictions_and_done(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.whole_plan()
    assert retrainer.plans() == {"churn-0-1": "done"}
    assert retrainer.types() == ["plan.accepted", "training.started", "training.succeeded", "model.promoted", "batch.finished"]


@pytest.mark.parametrize("deliveries", [1, 2, 5])
async def test_redelivered_drift_starts_one_training_job(retrainer: Any, facts: Any, deliveries: int) -> None:
    outcomes = [await retrainer.hear(facts.drift()) for _ in range(deliveries)]
    await retrainer.rounds()
    await retrainer.whole_plan()
    assert outcomes == ["proposed", *["duplicate"] * (deliveries - 1)]
    assert [len(retrainer.jobs.names(step)) for step in ("prepare", "train", "evaluate", "transform")] == [1, 1, 1, 1]


async def test_lost_answer_is_adopted_not_repeated(retrainer: Any, facts: Any) -> None:
    retrainer.jobs.lose_answers = 1
    await retrainer.hear(facts.drift())
    with pytest.raises(RetryableError):
        await retrainer.rounds()
    retrainer.restart()
    await retrainer.rounds()
    await retrainer.whole_plan()
    assert len(retrainer.jobs.names("prepare")) == 1
    assert retrainer.plans() == {"churn-0-1": "done"}


async def test_restart_in_any_state_goes_on(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    retrainer.restart()
    await retrainer.rounds()
    for step in ("prepare", "train", "evaluate", "transform"):
        retrainer.restart()
        await retrainer.finish(step)
    assert retrainer.plans() == {"churn-0-1": "done"}
    assert len(retrainer.jobs.created) == 5  # four jobs and the model


async def test_foreign_job_of_same_name_fails_loudly(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    original = retrainer.jobs.create

    async def squatted(kind: str, request: Any) -> None:
        retrainer.jobs.created.setdefault(request["ProcessingJobName"], (kind, {"Tags": []}))
        await original(kind, request)

    retrainer.jobs.create = squatted
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "failed"}
    assert "not ours" in retrainer.said()[-1].reason


async def test_worse_challenger_is_held_without_transform(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.finish("prepare")
    await retrainer.finish("train")
    await retrainer.finish("evaluate", challenger=0.7)
    assert retrainer.plans() == {"churn-0-1": "held"}
    assert retrainer.types()[-1] == "model.held"
    assert retrainer.jobs.names("transform") == []


async def test_first_model_is_promoted_without_a_champion(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.finish("prepare")
    await retrainer.finish("train")
    await retrainer.finish("evaluate", champion=None)
    assert "model.promoted" in retrainer.types()


async def test_promoted_model_is_next_champion(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(cooldown="0s", max_per_day=5)
    await retrainer.hear(facts.drift(1))
    await retrainer.rounds()
    await retrainer.whole_plan(episode=1)
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    await retrainer.finish("prepare", episode=2)
    await retrainer.finish("train", episode=2)
    (name,) = retrainer.jobs.names("evaluate")[1:]
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in retrainer.jobs.created[name][1]["ProcessingInputs"]}
    assert inputs["champion"].endswith(f"{retrainer.jobs.names('train')[0]}/output/model.tar.gz")


async def test_failed_job_is_tried_once_more_then_fails(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    for _ in range(2):
        retrainer.jobs.finish(retrainer.jobs.names("prepare")[-1], "failed", "AlgorithmError: out of disk")
        await retrainer.rounds()
    assert len(retrainer.jobs.names("prepare")) == 2
    assert retrainer.plans() == {"churn-0-1": "failed"}
    assert "out of disk" in retrainer.said()[-1].reason


async def test_job_that_sagemaker_no_longer_knows_has_failed_after_a_while(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    (first,) = retrainer.jobs.names("prepare")
    retrainer.jobs.finish(first, "unknown", "SageMaker knows no such job")
    await retrainer.rounds()
    assert retrainer.jobs.names("prepare") == [first]
    retrainer.clock.advance(VANISHED)
    await retrainer.rounds()
    assert len(retrainer.jobs.names("prepare")) == 2
    assert retrainer.plans() == {"churn-0-1": "preparing"}


async def test_replica_that_learns_late_of_a_failure_adds_no_attempt(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    retrainer.jobs.finish(retrainer.jobs.names("prepare")[0], "failed")
    slow, ask, asked, go_on = retrainer.watcher, retrainer.jobs.status, asyncio.Event(), asyncio.Event()

    async def slowly(kind: str, name: str) -> Any:
        asked.set()
        await go_on.wait()
        return await ask(kind, name)

    retrainer.jobs.status = slowly
    late = asyncio.create_task(slow.round())
    await asked.wait()
    retrainer.jobs.status = ask
    retrainer.restart()
    await retrainer.rounds()
    go_on.set()
    await late
    await retrainer.rounds()
    assert len(retrainer.jobs.names("prepare")) == 2


@pytest.mark.parametrize("error", [RetryableError("denied"), ZeroDivisionError("a bug")])
async def test_trouble_with_one_plan_stops_no_other(new_retrainer: Any, facts: Any, error: Exception) -> None:
    retrainer = new_retrainer(3)
    create = retrainer.jobs.create

    async def picky(kind: str, request: Any) -> None:
        if "churn-1" in request["ProcessingJobName"]:
            raise error
        await create(kind, request)

    retrainer.jobs.create = picky
    for number in range(3):
        await retrainer.hear(facts.drift(1, f"churn-{number}"))
    with contextlib.suppress(RetryableError):
        await retrainer.watcher.round()
    assert len(retrainer.jobs.created) == 2


async def test_throttling_ends_the_round(new_retrainer: Any, facts: Any) -> None:
    retrainer, calls = new_retrainer(3), []

    async def throttled(kind: str, request: Any) -> None:
        calls.append(kind)
        raise Throttled("slow down")

    retrainer.jobs.create = throttled
    for number in range(3):
        await retrainer.hear(facts.drift(1, f"churn-{number}"))
    with pytest.raises(Throttled):
        await retrainer.watcher.round()
    assert len(calls) == 1


@pytest.mark.parametrize("written", [b"[]", b"{", b'{"rows": 5}', b'{"rows": 5, "challenger": "good"}'])
async def test_unusable_report_fails_the_plan_naming_the_file(retrainer: Any, facts: Any, written: bytes) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.finish("prepare")
    await retrainer.finish("train")
    await retrainer.objects.write("acme", "out/churn-0/episode-1/evaluated-1/metrics.json", written)
    retrainer.jobs.finish(retrainer.jobs.names("evaluate")[0])
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "failed"}
    assert "evaluated-1/metrics.json" in retrainer.said()[-1].reason


async def test_transform_beyond_its_limit_is_stopped(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    for step in ("prepare", "train", "evaluate"):
        await retrainer.finish(step)
    await retrainer.rounds()
    assert retrainer.jobs.stopped == []
    retrainer.clock.advance(timedelta(minutes=61))
    await retrainer.rounds()
    assert retrainer.jobs.stopped == retrainer.jobs.names("transform")


async def test_broken_data_is_never_trained_on(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift(trainable=False))
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "refused"}
    assert "data needs fixing" in retrainer.said()[-1].reason
    assert retrainer.jobs.created == {}


async def test_open_untrusted_episode_refuses_training(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.untrusted())
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "refused"}


async def test_episode_over_before_training_is_refused(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.resolved())
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "refused"}
    assert retrainer.jobs.created == {}


async def test_created_job_runs_on_after_episode(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.hear(facts.resolved())
    await retrainer.whole_plan()
    assert retrainer.plans() == {"churn-0-1": "done"}


async def test_cooldown_waits_and_decides_again(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(max_per_day=5)
    await retrainer.hear(facts.drift(1))
    await retrainer.rounds()
    await retrainer.whole_plan()
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    assert retrainer.plans()["churn-0-2"] == "waiting"
    retrainer.clock.advance(facts.later)
    await retrainer.rounds()
    assert retrainer.plans()["churn-0-2"] == "preparing"


async def test_waiting_is_said_once_per_reason(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(budget=0)
    await retrainer.hear(facts.drift())
    for _ in range(3):
        await retrainer.rounds()
        retrainer.clock.advance(facts.later)
    assert retrainer.types() == ["plan.waiting"]


async def test_waiting_plan_ends_with_its_episode(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(budget=0)
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.hear(facts.resolved())
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "refused"}


async def test_second_plan_waits_for_the_first(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(cooldown="0s", max_per_day=5)
    await retrainer.hear(facts.drift(1))
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    assert sorted(retrainer.plans().values()) == ["preparing", "waiting"]
    await retrainer.whole_plan(episode=1)
    retrainer.clock.advance(timedelta(minutes=2))
    await retrainer.rounds()
    assert retrainer.plans()["churn-0-2"] == "preparing"


async def test_storm_of_episodes_stays_within_budget(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(50, budget=3)
    for n in range(50):
        await retrainer.hear(facts.drift(1, f"churn-{n}"))
    await retrainer.rounds()
    assert len(retrainer.jobs.names("prepare")) == 3
    assert sorted(retrainer.plans().values()).count("waiting") == 47


async def test_missing_labels_give_the_budget_back(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.finish("prepare", train=0, holdout=0)
    assert retrainer.plans() == {"churn-0-1": "waiting"}
    retrainer.clock.advance(timedelta(hours=2))
    await retrainer.rounds()
    assert len(retrainer.jobs.names("prepare")) == 2
    await retrainer.finish("prepare")
    assert retrainer.plans() == {"churn-0-1": "training"}


async def test_quota_parks_the_plan_for_an_hour(retrainer: Any, facts: Any) -> None:
    retrainer.jobs.quota = 0
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.types() == ["plan.accepted", "plan.waiting"]
    retrainer.jobs.quota = None
    await retrainer.rounds()
    assert retrainer.jobs.created == {}
    retrainer.clock.advance(timedelta(hours=2))
    await retrainer.rounds()
    assert len(retrainer.jobs.names("prepare")) == 1


async def test_sequence_grows_with_each_fact(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.whole_plan()
    sequences = [fact.sequence for fact in retrainer.said() if isinstance(fact, PlanFact)]
    assert sequences == sorted(set(sequences))
