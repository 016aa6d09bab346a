"""Pipelines and state machines in place of jobs: started once, tried twice, stopped in time, and what they are told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import pytest
from botocore.exceptions import ClientError

from driftsonde.core.config import Budget, Config, PipelineRun, Recipe, StateMachineRun, parse_config
from driftsonde.core.errors import ConfigError, QuotaReached, RetryableError
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import costs
from driftsonde.retrainer.executions import StateMachineExecutions
from driftsonde.retrainer.executor import machine_request, pipeline_request
from driftsonde.retrainer.watcher import VANISHED

from .conftest import Retrainer, make_config

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:retrain"
PIPELINE: dict[str, Any] = {
    "pipeline": "churn-pipeline", "parameters": {"Manifest": "{manifest}", "Where": "{deployment}/{monitor}-{episode}", "Mode": "{{full}}"},
    "timeout": "6h",
}  # fmt: skip
RUNS = [PIPELINE, {"state_machine": MACHINE, "timeout": "6h"}]
MANIFEST = "s3://acme/out/churn-0/episode-1/manifest-1/job.json"
KNOWN: dict[str, str | int] = {"manifest": MANIFEST, "monitor": "churn-0", "episode": 1, "event": "e" * 32, "deployment": "test"}


def config_with(run: dict[str, Any], **retrain: Any) -> Config:
    raw = make_config(**retrain).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    raw["recipes"] = {"xgb": {"output": "s3://acme/out/", "run": run}}
    del raw["monitors"][0]["columns"]  # without a label: whoever is started knows it
    return parse_config(raw, source="test")


@pytest.fixture
def start(database: Database) -> Any:
    return lambda run, **retrain: Retrainer(database, config_with(run, **retrain))


def last(retrainer: Retrainer) -> str:
    return list(retrainer.executions.started)[-1]


@pytest.mark.parametrize("run", RUNS)
async def test_drift_starts_one_execution_and_its_success_is_done(start: Any, facts: Any, run: dict[str, Any]) -> None:
    retrainer = start(run)
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "executing"}
    retrainer.executions.finish(last(retrainer), seconds=90.0)
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "done"}
    assert retrainer.types() == ["plan.accepted", "training.started", "training.succeeded"]
    assert retrainer.said()[-1].seconds == 90.0
    assert retrainer.jobs.created == {}


async def test_manifest_is_there_before_the_pipeline_that_reads_it(start: Any, facts: Any) -> None:
    retrainer = start(PIPELINE)
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    (request,) = retrainer.executions.started.values()
    given = {item["Name"]: item["Value"] for item in request["PipelineParameters"]}
    assert given == {"Manifest": MANIFEST, "Where": "test/churn-0-1", "Mode": "{full}"}
    manifest = json.loads(await retrainer.objects.read("acme", MANIFEST.removeprefix("s3://acme/"), 0, 100_000))
    assert (len(manifest["drops"]), manifest["label"]) == (4, None)


async def test_state_machine_is_told_which_drift_it_answers(start: Any, facts: Any) -> None:
    retrainer = start(RUNS[1])
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    (request,) = retrainer.executions.started.values()
    told = json.loads(request["input"])
    assert len(told.pop("event")) == 32
    assert told == {"manifest": MANIFEST, "monitor": "churn-0", "episode": 1, "deployment": "test"}


@pytest.mark.parametrize("run", RUNS)
async def test_crash_between_start_and_note_starts_no_second_execution(start: Any, facts: Any, run: dict[str, Any]) -> None:
    retrainer = start(run)
    retrainer.executions.lose_answers = 1
    await retrainer.hear(facts.drift())
    with pytest.raises(RetryableError):
        await retrainer.rounds()
    retrainer.clock.advance(timedelta(minutes=30))
    retrainer.restart()
    await retrainer.rounds()
    assert len(retrainer.executions.started) == 1
    retrainer.executions.finish(last(retrainer))
    await retrainer.rounds()
    assert retrainer.plans() == {"churn-0-1": "done"}


@pytest.mark.parametrize("run", RUNS)
async def test_failed_execution_is_tried_once_more_then_fails_with_its_cause(start: Any, facts: Any, run: dict[str, Any]) -> None:
    retrainer = start(run)
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    for _ in range(2):
        retrainer.executions.finish(last(retrainer), "failed", "no space left")
        await retrainer.rounds()
    assert len(retrainer.executions.started) == 2
    assert retrainer.plans() == {"churn-0-1": "failed"}
    assert retrainer.types()[-1] == "training.failed"
    assert "no space left" in retrainer.said()[-1].reason
    assert last(retrainer) in retrainer.said()[-1].reason


async def test_execution_beyond_its_timeout_is_stopped_and_tried_again(start: Any, facts: Any) -> None:
    retrainer = start(PIPELINE)
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    first = last(retrainer)
    retrainer.clock.advance(timedelta(hours=6))
    await retrainer.rounds()
    assert retrainer.executions.stopped == {}
    for _ in range(2):
        retrainer.clock.advance(timedelta(hours=6, minutes=1))
        await retrainer.watcher.round()
        await retrainer.rounds()
    assert list(retrainer.executions.stopped) == [first, last(retrainer)]
    assert "longer than its timeout of 6:00:00" in retrainer.said()[-1].reason
    assert retrainer.plans() == {"churn-0-1": "failed"}


async def test_execution_that_nobody_knows_any_more_has_failed_after_a_while(start: Any, facts: Any) -> None:
    retrainer = start(RUNS[1])
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    retrainer.executions.finish(last(retrainer), "unknown", "no such execution")
    await retrainer.rounds()
    assert len(retrainer.executions.started) == 1
    retrainer.clock.advance(VANISHED)
    await retrainer.rounds()
    assert len(retrainer.executions.started) == 2


async def test_too_many_executions_park_the_plan(start: Any, facts: Any) -> None:
    retrainer = start(PIPELINE)
    retrainer.executions.quota = 0
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.types() == ["plan.accepted", "plan.waiting"]
    retrainer.executions.quota = None
    retrainer.clock.advance(timedelta(hours=2))
    await retrainer.rounds()
    assert len(retrainer.executions.started) == 1


async def test_cooldown_and_single_flight_hold_for_executions_too(start: Any, facts: Any) -> None:
    retrainer = start(PIPELINE, max_per_day=5)
    await retrainer.hear(facts.drift(1))
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    assert sorted(retrainer.plans().values()) == ["executing", "waiting"]
    retrainer.executions.finish(last(retrainer))
    retrainer.clock.advance(timedelta(minutes=2))
    await retrainer.rounds()
    assert retrainer.plans()["churn-0-2"] == "waiting"
    retrainer.clock.advance(facts.later)
    await retrainer.rounds()
    assert retrainer.plans()["churn-0-2"] == "executing"


async def test_approval_is_asked_for_with_a_time_and_no_amount(start: Any, facts: Any) -> None:
    retrainer = start(PIPELINE, approval="ask")
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    assert retrainer.executions.started == {}
    (decision,) = retrainer.decisions()
    assert (decision.answer, decision.cost.amount) == ("ask", None)
    assert "360 min; what that costs is not known" in decision.text
    assert "sees to labels itself" in decision.labels


async def test_recipe_that_changes_before_the_start_fails_the_plan(start: Any, facts: Any, database: Database) -> None:
    retrainer = start(PIPELINE)
    retrainer.executions.quota = 0
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    other = start(RUNS[1])
    other.clock.advance(timedelta(hours=2))
    await other.rounds()
    assert other.plans() == {"churn-0-1": "failed"}
    assert "was changed before" in other.said()[-1].reason


def test_estimate_is_the_median_of_past_executions_without_amount() -> None:
    recipe = Recipe.model_validate({"output": "s3://acme/out/", "run": PIPELINE})
    assert costs.estimate(recipe, {}, Budget()).seconds == 6 * 3600
    found = costs.estimate(recipe, {"execute": [60.0, 120.0, 600.0]}, Budget(prices={"ml.m5.large": 1.0}))
    assert (found.seconds, found.amount, found.at_most) == (120.0, None, False)
    assert costs.cost(recipe, "execute", 3600.0, Budget(prices={"ml.m5.large": 1.0})) == 0.0


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("sagemaker", "StartPipelineExecution", pipeline_request(PipelineRun.model_validate(PIPELINE), "ds-a-1", "t" * 32, KNOWN)),
        ("stepfunctions", "StartExecution", machine_request(StateMachineRun(state_machine=MACHINE), "ds-a-1", KNOWN)),
    ],
)
def test_requests_fit_the_services_own_models(service: str, operation: str, request_: dict[str, Any]) -> None:
    model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"))
    shape: Any = model.operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(request_, shape)
    assert not report.has_errors(), report.generate_report()


async def test_express_workflow_is_refused_because_it_cannot_be_watched() -> None:
    class Express:
        async def start_execution(self, **request: Any) -> dict[str, str]:
            return {"executionArn": "arn:aws:states:us-east-1:123456789012:express:retrain:ds-a-1:0"}

    with pytest.raises(ConfigError, match="use a standard one"):
        await StateMachineExecutions(Express()).start({"stateMachineArn": MACHINE, "name": "ds-a-1", "input": "{}"})


async def test_alias_of_a_state_machine_is_adopted_under_the_machines_name() -> None:
    asked: list[str] = []

    class Taken:
        async def start_execution(self, **request: Any) -> None:
            raise ClientError({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")

        async def describe_execution(self, *, executionArn: str) -> dict[str, str]:
            asked.append(executionArn)
            return {"input": "{}"}

    found = await StateMachineExecutions(Taken()).start({"stateMachineArn": f"{MACHINE}:live", "name": "ds-a-1", "input": "{}"})
    assert [found] == asked == ["arn:aws:states:us-east-1:123456789012:execution:retrain:ds-a-1"]


async def test_full_step_functions_are_a_quota() -> None:
    class Full:
        async def start_execution(self, **request: Any) -> None:
            raise ClientError({"Error": {"Code": "ExecutionLimitExceeded"}}, "StartExecution")

    with pytest.raises(QuotaReached):
        await StateMachineExecutions(Full()).start({"stateMachineArn": MACHINE, "name": "ds-a-1", "input": "{}"})


def test_parameter_that_grows_too_long_is_a_mistake_of_the_recipe() -> None:
    run = PipelineRun(pipeline="p", parameters={"Manifest": "{manifest}"})
    with pytest.raises(ConfigError, match=r"run\.parameters\.Manifest: longer"):
        pipeline_request(run, "n", "t" * 32, {**KNOWN, "manifest": "s" * 1025})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"run": {"pipeline": "p", "parameters": {"A": "{drops}"}}}, r"\{drops\} is unknown; known are \{manifest\}, \{monitor\}"),
        ({"run": {"pipeline": "p", "parameters": {"A": "{"}}}, "known are .*a brace itself is written twice"),
        ({"run": {"pipeline": "p", "parameters": {"A": "{episode:9}"}}}, "known are"),
        ({"run": {"pipeline": "p", "parameters": {"A": "{monitor.upper}"}}}, "known are"),
        ({"run": {"pipeline": "p", "state_machine": MACHINE}}, "exactly one of pipeline"),
        ({"run": {}}, "exactly one of pipeline"),
        ({"run": {"state_machine": "retrain"}}, "state_machine"),
        ({"run": {"state_machine": MACHINE, "parameters": {"A": "b"}}}, "parameters"),
        ({"run": {"pipeline": "p", "timeout": "0s"}}, "timeout"),
        ({"run": {"pipeline": "p"}, "training": {"image": "x"}}, "training: is of jobs"),
        ({}, "role: missing"),
    ],
)
def test_mistakes_of_run_are_named(recipe: dict[str, Any], message: str) -> None:
    raw = make_config().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    raw["recipes"] = {"xgb": {"output": "s3://acme/out/", **recipe}}
    with pytest.raises(ConfigError, match=message):
        parse_config(raw, source="test")
