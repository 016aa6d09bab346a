"""Tuning jobs and scripts: their requests, what is refused before it costs anything, what a search costs, and plans with one."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from driftsonde.core.config import Budget, Recipe, Tune
from driftsonde.core.events import TrainingFailed
from driftsonde.core.names import tuning_name
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import costs, requests, store, tuning
from driftsonde.retrainer.requests import Layout

from .conftest import Retrainer, make_config
from .test_pure import assert_fits

SEARCH: dict[str, Any] = {
    "jobs": 6,
    "ranges": {
        "eta": {"min": 0.01, "max": 0.3, "scale": "log"}, "max_depth": {"min": 3, "max": 9, "type": "integer"}, "booster": ["gbtree", "dart"],
    },
}  # fmt: skip
SCRIPT = {"image": "own:1", "script": {"source": "s3://acme/code/sourcedir.tar.gz", "entry": "train.py"}}


def recipe(**training: Any) -> Recipe:
    return Recipe.model_validate({"role": "arn:aws:iam::123456789012:role/jobs", "output": "s3://acme/out/", "training": training})


def request_of(recipe: Recipe) -> dict[str, Any]:
    assert recipe.training.tune is not None
    return requests.tune(recipe, recipe.training.tune, Layout.of(recipe, "churn", 7), "ds-churn-1", "image", 1)


def test_tuning_request_fits_sagemakers_model_and_asks_for_the_search() -> None:
    request = request_of(recipe(tune=SEARCH, spot="4h", hyperparameters={"num_round": "50"}))
    assert_fits("CreateHyperParameterTuningJob", request)
    config, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "validation:auc"}
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 2}
    assert config["ParameterRanges"] == {
        "ContinuousParameterRanges": [{"Name": "eta", "MinValue": "0.01", "MaxValue": "0.3", "ScalingType": "Logarithmic"}],
        "IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "3", "MaxValue": "9", "ScalingType": "Auto"}],
        "CategoricalParameterRanges": [{"Name": "booster", "Values": ["gbtree", "dart"]}],
    }
    assert definition["StaticHyperParameters"] == {"objective": "binary:logistic", "eval_metric": "auc", "num_round": "50"}
    assert definition["EnableManagedSpotTraining"] is True
    assert "CheckpointConfig" not in definition  # or its training jobs would go on from each other's


def test_searched_hyperparameter_is_no_longer_static() -> None:
    definition = request_of(recipe(tune={"ranges": {"num_round": {"min": 50, "max": 200, "type": "integer"}}}))["TrainingJobDefinition"]
    assert "num_round" not in definition["StaticHyperParameters"]


def test_xgboost_reports_what_is_compared() -> None:
    logloss = request_of(recipe(tune={**SEARCH, "metric": "validation:logloss", "direction": "min"}))
    assert logloss["TrainingJobDefinition"]["StaticHyperParameters"]["eval_metric"] == "logloss"
    assert logloss["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] == "Minimize"


def test_tuning_trains_on_what_a_single_training_would() -> None:
    tuned = recipe(tune=SEARCH)
    definition = request_of(tuned)["TrainingJobDefinition"]
    single = requests.train(tuned, Layout.of(tuned, "churn", 7), "name", "image", 1)
    same = single.keys() - {"TrainingJobName", "HyperParameters"}
    assert {key: definition[key] for key in same} == {key: single[key] for key in same}


def test_script_is_found_by_json_hyperparameters_alone() -> None:
    scripted = recipe(**SCRIPT, hyperparameters={"depth": "3"})
    request = requests.train(scripted, Layout.of(scripted, "churn", 7), "t-1", "own:1", 1)
    assert_fits("CreateTrainingJob", request)
    assert request["HyperParameters"] == {
        "sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"s3://acme/code/sourcedir.tar.gz"', "depth": "3",
    }  # fmt: skip
    assert json.loads(request["HyperParameters"]["sagemaker_program"]) == "train.py"


def test_search_with_a_script_says_how_its_metric_is_found() -> None:
    request = request_of(recipe(**SCRIPT, tune={**SEARCH, "metric": "score", "regex": "score=([0-9.]+)"}))
    assert_fits("CreateHyperParameterTuningJob", request)
    definition = request["TrainingJobDefinition"]
    assert definition["AlgorithmSpecification"]["MetricDefinitions"] == [{"Name": "score", "Regex": "score=([0-9.]+)"}]
    assert definition["StaticHyperParameters"].keys() == {"sagemaker_program", "sagemaker_submit_directory"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"script": SCRIPT["script"]}, "needs an image"),
        ({**SCRIPT, "command": ["python", "train.py"]}, "no command"),
        ({"script": {"source": "s3://acme/" + "a" * 250, "entry": "train.py"}, "image": "own:1"}, "at most 254 characters"),
        ({**SCRIPT, "tune": SEARCH}, "tune.regex"),
        ({"image": "own:1", "command": ["train"], "tune": SEARCH}, "take no command"),
        ({"tune": SEARCH, "hyperparameters": {"eta": "0.1"}}, "eta is set in hyperparameters too"),
        ({"tune": {**SEARCH, "jobs": 1}}, "parallel: 2 is more than jobs, 1"),
        ({"tune": {"ranges": {}}}, "ranges"),
        ({"tune": {"ranges": {"booster": []}}}, "booster"),
        ({"tune": {"ranges": {"eta": {"min": 1, "max": 1}}}}, "must be less than max"),
        ({"tune": {"ranges": {"eta": {"min": 0, "max": 1, "scale": "log"}}}}, "must be more than 0"),
        ({"tune": {"ranges": {"eta": {"min": 0, "max": 1, "scale": "reverse_log"}}}}, "less than 1"),
        ({"tune": {"ranges": {"depth": {"min": 0.5, "max": 3, "type": "integer"}}}}, "whole numbers"),
        ({"tune": {**SEARCH, "strategy": "Grid"}}, "strategy"),
    ],
)
def test_training_that_cannot_work_is_refused_with_its_reason(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        recipe(**wrong)


def test_script_cannot_be_fetched_by_an_isolated_container() -> None:
    with pytest.raises(ValueError, match="isolated keeps from the network"):
        Recipe.model_validate({**recipe(**SCRIPT).model_dump(exclude_unset=True), "security": {"isolated": True}})


def test_tuning_names_are_stable_unique_and_short() -> None:
    names = {tuning_name("a-very-long-monitor-name-of-32-ch", "d", "u", 1, attempt) for attempt in (1, 2)}
    assert len(names) == 2
    assert all(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}", name) for name in (*names, tuning_name("seven-7-more", 1)))
    assert tuning_name("churn", "d", 1) == tuning_name("churn", "d", 1) != tuning_name("churn-2", "d", 1)


def test_search_may_cost_the_limit_of_all_its_training_jobs() -> None:
    budget = Budget(prices={"ml.m5.large": 1.0})
    single, search = (costs.estimate(found, {}, budget) for found in (recipe(), recipe(tune=SEARCH)))
    assert single.amount is not None
    assert search.amount == pytest.approx(single.amount + 5)  # dollars for five hours more
    assert search.at_most
    past = costs.estimate(recipe(tune=SEARCH), {"train": [7200.0]}, budget)
    assert past.amount == pytest.approx(single.amount + 1)


def reason_of(retrainer: Retrainer) -> str:
    last = retrainer.said()[-1]
    assert isinstance(last, TrainingFailed)
    return last.reason


@pytest.fixture
def tuner(database: Database) -> Retrainer:
    config = make_config()
    tuned = config.recipes["xgb"].training.model_copy(update={"tune": Tune.model_validate(SEARCH)})
    recipes = {"xgb": config.recipes["xgb"].model_copy(update={"training": tuned})}
    return Retrainer(database, config.model_copy(update={"recipes": recipes}))


async def test_plan_with_a_search_runs_one_tuning_job_to_done(tuner: Retrainer, facts: Any) -> None:
    await tuner.hear(facts.drift())
    await tuner.rounds()
    await tuner.whole_plan()
    assert tuner.plans() == {"churn-0-1": "done"}
    (name,) = tuner.jobs.names("train")
    kind, request = tuner.jobs.created[name]
    assert (kind, len(name)) == ("tuning", 31)
    assert request["HyperParameterTuningJobName"] == name
    assert tuner.types() == ["plan.accepted", "training.started", "training.succeeded", "model.promoted", "batch.finished"]
    (evaluation,) = tuner.jobs.names("evaluate")
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in tuner.jobs.created[evaluation][1]["ProcessingInputs"]}
    assert inputs["challenger"] == f"s3://acme/{name}/output/model.tar.gz"


async def test_restarts_and_redeliveries_start_no_second_search(tuner: Retrainer, facts: Any) -> None:
    for _ in range(3):
        await tuner.hear(facts.drift())
    await tuner.rounds()
    await tuner.finish("prepare")
    for _ in range(3):
        tuner.restart()
        await tuner.rounds()
    assert len(tuner.jobs.names("train")) == 1


async def test_failed_search_is_tried_once_more_under_another_name(tuner: Retrainer, facts: Any) -> None:
    await tuner.hear(facts.drift())
    await tuner.rounds()
    await tuner.finish("prepare")
    for _ in range(2):
        tuner.jobs.finish(tuner.jobs.names("train")[-1], "failed", "All training jobs failed")
        await tuner.rounds()
    assert len(set(tuner.jobs.names("train"))) == 2
    assert tuner.plans() == {"churn-0-1": "failed"}
    assert "All training jobs failed" in reason_of(tuner)


async def test_search_taken_out_of_the_recipe_fails_its_plan_saying_so(tuner: Retrainer, facts: Any) -> None:
    tuner.jobs.quota = 1
    await tuner.hear(facts.drift())
    await tuner.rounds()
    await tuner.finish("prepare")  # and the tuning job is wanted, but may not be created yet
    tuner.config = make_config()
    tuner.jobs.quota = None
    tuner.clock.advance(timedelta(hours=2))
    tuner.restart()
    await tuner.rounds()
    assert tuner.plans() == {"churn-0-1": "failed"}
    assert "training.tune was taken out" in reason_of(tuner)


async def test_single_trainings_of_the_past_say_nothing_of_a_search(tuner: Retrainer, facts: Any, database: Database) -> None:
    plain = Retrainer(database, make_config(cooldown="0s", max_per_day=5))
    await plain.hear(facts.drift(1))
    await plain.rounds()
    await plain.whole_plan()
    with database.read() as connection:
        assert connection.scalars(select(store.job.c.seconds).where(store.job.c.step == "train")).all() == [1.0]
    await tuner.hear(facts.drift(2))
    await tuner.rounds()
    cost = tuner.decisions()[-1].cost
    assert cost is not None
    assert cost.seconds > 6 * 3600


class Client:
    """SageMaker's client, as far as a tuning job that has ended goes."""

    def __init__(self, job: dict[str, Any], took: list[int]) -> None:
        self.job, self.took = job, took

    async def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        return {"TrainingJobName": TrainingJobName, **self.job}

    async def list_training_jobs_for_hyper_parameter_tuning_job(self, **request: Any) -> dict[str, Any]:
        """One training job on each page, and one that never began."""
        at, begin = int(request.get("NextToken", "0")), datetime(2026, 1, 1, tzinfo=UTC)
        job = {"TrainingStartTime": begin, "TrainingEndTime": begin + timedelta(seconds=self.took[at])}
        more = {"NextToken": str(at + 1)} if at + 1 < len(self.took) else {}
        return {"TrainingJobSummaries": [job, {}], **more}


ENDED = {"HyperParameterTuningJobName": "t", "BestTrainingJob": {"TrainingJobName": "t-002"}}
MODEL = {"ModelArtifacts": {"S3ModelArtifacts": "s3://a/m"}, "FinalMetricDataList": [{"MetricName": "validation:auc", "Value": 0.9}]}


async def test_ended_search_gives_model_metrics_and_seconds_of_all() -> None:
    status = await tuning.outcome(Client(MODEL, [60, 90, 30]), ENDED, "succeeded")
    assert (status.state, status.artifact, status.metrics, status.seconds) == ("succeeded", "s3://a/m", {"validation:auc": 0.9}, 180.0)


@pytest.mark.parametrize(
    ("answer", "state", "named"),
    [
        ({"HyperParameterTuningJobName": "t"}, "succeeded", "has reported the metric"),
        (ENDED, "succeeded", "t-002, has left no model"),
        ({**ENDED, "FailureReason": "all failed"}, "failed", "all failed"),
    ],
)
async def test_search_without_a_model_has_failed_and_still_cost(answer: dict[str, Any], state: Any, named: str) -> None:
    status = await tuning.outcome(Client({}, [60]), answer, state)
    assert (status.state, status.artifact, status.seconds) == ("failed", None, 60.0)
    assert named in status.detail
