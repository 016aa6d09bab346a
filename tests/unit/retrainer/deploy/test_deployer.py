"""A plan in the state `deploying`: what is asked of SageMaker, what is announced, what survives a crash."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from driftsonde.core.errors import RetryableError
from driftsonde.core.events import DeploymentFinished, ModelPromoted, PlanFact
from driftsonde.retrainer import store

ENDPOINT = "churn-live"
CANARY = {"strategy": "canary", "alarms": ["errors"]}
BANDIT = {"strategy": "bandit", "labels": "s3://acme/labels/", "stop": {"least_rows": 20}}


def models(retrainer: Any) -> list[str]:
    """Return the state of every model."""
    with retrainer.database.read() as connection:
        return list(connection.scalars(select(store.model.c.state)))


async def settled(retrainer: Any, **how: Any) -> None:
    """End what SageMaker is doing, and go round."""
    retrainer.endpoints.settle(ENDPOINT, **how)
    await retrainer.rounds()


async def later(retrainer: Any, **time: int) -> None:
    """Let time pass, and go round."""
    retrainer.clock.advance(timedelta(**time))
    await retrainer.rounds()


async def put_labels(retrainer: Any, key: str, **wins: tuple[int, int]) -> None:
    """Store rewards: by variant how many are 1, of how many."""
    lines = [
        json.dumps({"variant": name.replace("_", "-"), "reward": int(number < won)})
        for name, (won, rows) in wins.items()
        for number in range(rows)
    ]
    await retrainer.objects.write("acme", f"labels/{key}", "\n".join(lines).encode())


def challenger(retrainer: Any) -> str:
    """Return the new model's name as a keyword."""
    (name,) = [name for name, (kind, _) in retrainer.jobs.created.items() if kind == "model"]
    return str(name).replace("-", "_")


async def test_promoted_model_is_champion_only_once_it_serves(deploying: Any) -> None:
    retrainer = await deploying(strategy="single")
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "deploying"}, ["challenger"])
    assert retrainer.types()[-1] == "deployment.started"
    await settled(retrainer)
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "transforming"}, ["champion"])
    assert retrainer.types()[-2:] == ["deployment.finished", "model.promoted"]
    finished, promoted = retrainer.said()[-2:]
    assert isinstance(finished, DeploymentFinished)
    assert isinstance(promoted, ModelPromoted)
    assert (finished.outcome, finished.model, len(promoted.drops)) == ("live", promoted.model, 4)
    await retrainer.finish("transform")
    assert retrainer.plans() == {"churn-0-1": "done"}
    sequences = [fact.sequence for fact in retrainer.said() if isinstance(fact, PlanFact)]
    assert sequences == sorted(set(sequences))


async def test_missing_endpoint_is_created(deploying: Any) -> None:
    retrainer = await deploying(fresh=True, batch=False, **CANARY)
    assert retrainer.endpoints.states[ENDPOINT].status == "Creating"
    assert [guard for _, guard in retrainer.endpoints.asked] == [None]
    await settled(retrainer)
    assert retrainer.plans() == {"churn-0-1": "done"}


async def test_endpoint_that_cannot_be_created_ends_the_plan(deploying: Any) -> None:
    retrainer = await deploying(fresh=True, strategy="single")
    await settled(retrainer, rolled_back="AlgorithmError: no such file")
    assert retrainer.plans() == {"churn-0-1": "rolled_back"}
    assert retrainer.said()[-1].reason == "AlgorithmError: no such file"


async def test_failing_canary_leaves_the_champion(deploying: Any) -> None:
    retrainer = await deploying(**CANARY)
    ((config, guard),) = retrainer.endpoints.asked
    assert guard["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}
    await settled(retrainer, rolled_back="alarm errors")
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "rolled_back"}, ["rolled_back"])
    finished = retrainer.said()[-1]
    assert isinstance(finished, DeploymentFinished)
    assert (finished.outcome, finished.reason) == ("rolled_back", "alarm errors")
    assert "model.promoted" not in retrainer.types()
    assert retrainer.jobs.names("transform") == []
    assert retrainer.endpoints.asked == [(config, guard)]


async def test_lost_answer_is_not_asked_twice(deploying: Any, facts: Any) -> None:
    retrainer = await deploying(strategy="single", batch=False)
    await settled(retrainer)
    await retrainer.hear(facts.drift(2))
    await later(retrainer, days=2)
    for step in ("prepare", "train"):
        await retrainer.finish(step, episode=2)
    retrainer.endpoints.lose_answers = 1
    with pytest.raises(RetryableError):
        await retrainer.finish("evaluate", episode=2)
    retrainer.restart()
    await settled(retrainer)
    assert retrainer.plans() == {"churn-0-1": "done", "churn-0-2": "done"}
    assert len(retrainer.endpoints.asked) == 2
    assert sorted(models(retrainer)) == ["champion", "retired"]


async def test_shadow_takes_over_by_itself_after_its_time(deploying: Any) -> None:
    retrainer = await deploying(strategy="shadow", **{"for": "24h"})
    await settled(retrainer)
    await later(retrainer, hours=23)
    assert [config.split("-")[3] for config, _ in retrainer.endpoints.asked] == ["trial"]
    retrainer.restart()
    await later(retrainer, hours=1)
    assert [config.split("-")[3] for config, _ in retrainer.endpoints.asked] == ["trial", "live"]
    await settled(retrainer)
    assert retrainer.plans() == {"churn-0-1": "transforming"}
    assert "stayed in service for 1 day" in retrainer.said()[-2].reason


async def test_silent_shadow_is_taken_away_by_itself(deploying: Any) -> None:
    retrainer = await deploying(strategy="shadow", capture="s3://acme/captured/", settle="0s", **{"for": "24h"})
    await settled(retrainer)
    trial = retrainer.endpoints.asked[0][0]
    at = retrainer.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    output = {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.1", "encoding": "CSV"}
    line = {"captureData": {"endpointOutput": output}, "eventMetadata": {"eventId": "1", "inferenceTime": at}, "eventVersion": "0"}
    await retrainer.objects.write("acme", f"captured/{trial}/{ENDPOINT}/Main/2026/01/01/00/a.jsonl", json.dumps(line).encode())
    await later(retrainer, hours=24)
    assert [config for config, _ in retrainer.endpoints.asked] == [trial, "by-hand"]
    await settled(retrainer)
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "rolled_back"}, ["rolled_back"])
    assert "answered 0 of about 1" in retrainer.said()[-1].reason


async def test_bandit_follows_rewards_and_stops(deploying: Any) -> None:
    retrainer = await deploying(**BANDIT)
    await settled(retrainer)
    assert retrainer.endpoints.weighed == []
    new = challenger(retrainer)
    await put_labels(retrainer, "1.jsonl", **{new: (8, 10), "old_model": (6, 10)})
    await later(retrainer, minutes=15)
    (weights,) = retrainer.endpoints.weighed
    assert 0.6 < weights[new.replace("_", "-")] < 0.95
    await put_labels(retrainer, "2.jsonl", **{new: (28, 30), "old_model": (10, 30)})
    await later(retrainer, minutes=15)
    await settled(retrainer)
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "transforming"}, ["champion"])
    assert "after 40 and 40 rewards" in retrainer.said()[-2].reason


async def test_label_object_counts_once_and_anew_when_replaced(deploying: Any) -> None:
    retrainer = await deploying(**BANDIT)
    await settled(retrainer)
    new = challenger(retrainer)
    await put_labels(retrainer, "1.jsonl", **{new: (9, 10), "old_model": (1, 10)})
    for _ in range(3):
        await later(retrainer, minutes=15)
        retrainer.restart()
    assert retrainer.plans() == {"churn-0-1": "deploying"}  # twenty rewards each would have ended it
    assert len(retrainer.endpoints.weighed) == 1
    await put_labels(retrainer, "1.jsonl", **{new: (1, 25), "old_model": (24, 25)})
    await later(retrainer, minutes=15)
    await settled(retrainer)
    assert retrainer.plans() == {"churn-0-1": "rolled_back"}
    assert "after 25 and 25 rewards" in retrainer.said()[-1].reason


async def test_refused_live_configuration_restores_the_former(deploying: Any) -> None:
    retrainer = await deploying(**BANDIT)
    await settled(retrainer)
    retrainer.endpoints.refuse.add("-live-")
    await put_labels(retrainer, "1.jsonl", **{challenger(retrainer): (100, 100), "old_model": (1, 100)})
    await later(retrainer, minutes=15)
    assert [config == "by-hand" for config, _ in retrainer.endpoints.asked] == [False, True]
    await settled(retrainer)
    assert retrainer.plans() == {"churn-0-1": "rolled_back"}
    assert "SageMaker refuses" in retrainer.said()[-1].reason


async def test_endpoint_that_cannot_be_restored_fails_the_plan(deploying: Any) -> None:
    retrainer = await deploying(strategy="shadow", capture="s3://acme/captured/", **{"for": "1h"})
    await settled(retrainer)
    await later(retrainer, hours=1)
    await settled(retrainer, rolled_back="no capacity")
    assert retrainer.plans() == {"churn-0-1": "failed"}
    assert "could not be returned to by-hand: no capacity" in retrainer.said()[-1].reason


@pytest.mark.parametrize("section", [{"strategy": "shadow", "for": "24h"}, BANDIT], ids=["shadow", "bandit"])
async def test_trial_of_a_monitor_that_is_no_longer_retrained_gives_the_endpoint_back(deploying: Any, section: dict[str, Any]) -> None:
    retrainer = await deploying(**section)
    await settled(retrainer)
    (monitor,) = retrainer.config.monitors
    retrainer.config = retrainer.config.model_copy(update={"monitors": (monitor.model_copy(update={"retrain": None}),)})
    retrainer.restart()
    await retrainer.rounds()
    assert [config for config, _ in retrainer.endpoints.asked][-1] == "by-hand"
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "failed"}, ["rolled_back"])


async def test_busy_endpoint_is_given_back_when_it_can_be(deploying: Any) -> None:
    retrainer = await deploying(strategy="shadow", **{"for": "24h"})
    (monitor,) = retrainer.config.monitors
    retrainer.config = retrainer.config.model_copy(update={"monitors": (monitor.model_copy(update={"retrain": None}),)})
    retrainer.restart()
    with pytest.raises(RetryableError):
        await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "deploying"}
    await settled(retrainer)
    assert [config for config, _ in retrainer.endpoints.asked][-1] == "by-hand"
    assert retrainer.plans() == {"churn-0-1": "failed"}


async def test_other_plans_of_the_monitor_wait_for_the_deployment(deploying: Any, facts: Any) -> None:
    retrainer = await deploying(strategy="shadow", **{"for": "10d"})
    await settled(retrainer)
    await retrainer.hear(facts.drift(2))
    await later(retrainer, days=5)
    assert retrainer.plans() == {"churn-0-1": "deploying", "churn-0-2": "waiting"}
