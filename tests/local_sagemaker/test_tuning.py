"""Tuning jobs: what is refused, what their training jobs get, and that they really find the best."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from driftsonde.core.config import Recipe
from driftsonde.core.errors import ConfigError
from driftsonde.core.local.sagemaker.rules import AwsError, check
from driftsonde.core.local.sagemaker.search import sample
from driftsonde.retrainer import requests
from driftsonde.retrainer.requests import Layout
from driftsonde.retrainer.sagemaker import SageMaker

from .support import OTHER_IMAGE, ROLE, XGBOOST, Plane, client, ended, messages, training, until
from .test_jobs import put_tables

RANGES = {
    "ContinuousParameterRanges": [{"Name": "eta", "MinValue": "0.01", "MaxValue": "0.3", "ScalingType": "Logarithmic"}],
    "IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "1", "MaxValue": "4"}],
    "CategoricalParameterRanges": [{"Name": "booster", "Values": ["gbtree", "dart"]}],
}
OWN = {
    "TrainingImage": OTHER_IMAGE, "TrainingInputMode": "File", "MetricDefinitions": [{"Name": "score", "Regex": "score=([0-9.]+);"}],
}  # fmt: skip
LONG = {"num_round": "1000000", "objective": "binary:logistic", "eval_metric": "auc"}


def tuning(name: str, bucket: str, *, definition: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    """Return a request for a tuning job of three training jobs."""
    job = {key: value for key, value in training(name, bucket).items() if key not in ("TrainingJobName", "HyperParameters")}
    fixed = {"num_round": "5", "objective": "binary:logistic", "eval_metric": "auc"}
    chosen = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:auc"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": RANGES,
        **config,
    }
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": chosen,
        "TrainingJobDefinition": {**job, "StaticHyperParameters": fixed, **(definition or {})},
    }


def span(kind: str, low: str, high: str, **scaling: str) -> dict[str, Any]:
    """Return a search of one range."""
    return {"ParameterRanges": {f"{kind}ParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high, **scaling}]}}


@pytest.mark.parametrize(
    ("config", "definition", "named"),
    [
        ({"Strategy": "Hyperband"}, {}, "Strategy Hyperband is not supported locally"),
        ({"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 2}}, {}, "at most MaxNumberOfTrainingJobs"),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 2}}, {}, "MaxNumberOfTrainingJobs is required"),
        ({"ParameterRanges": {}}, {}, "must name 1 to 30 hyperparameters, names 0"),
        ({}, {"StaticHyperParameters": {"eta": "0.1"}}, "'eta' is static and has a range"),
        ({}, {"AlgorithmSpecification": OWN}, "'validation:auc' must be one of MetricDefinitions: score"),
        ({"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "train:auc"}}, {}, "none of the algorithm's"),
        (span("Continuous", "0", "1", ScalingType="Logarithmic"), {}, "Logarithmic needs a MinValue over 0"),
        (span("Continuous", "0", "1", ScalingType="ReverseLogarithmic"), {}, "from 0 to less than 1"),
        (span("Continuous", "2", "1"), {}, "less than MaxValue"),
        (span("Continuous", "low", "1"), {}, "must be numbers"),
        (span("Integer", "1.5", "3"), {}, "must be whole numbers"),
        ({}, {"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "exactly one of TrainingImage"),
        ({"HyperParameterTuningJobObjective": {"Type": "Largest", "MetricName": "m"}}, {}, "Type must be one of"),
    ],
)
def test_searches_that_cannot_work_are_refused(config: dict[str, Any], definition: dict[str, Any], named: str) -> None:
    check("CreateHyperParameterTuningJob", tuning("t", "bucket"))
    with pytest.raises(AwsError, match=re.escape(named)):
        check("CreateHyperParameterTuningJob", tuning("t", "bucket", definition=definition, **config))


def test_tuning_job_names_have_32_characters_at_most() -> None:
    with pytest.raises(AwsError, match="HyperParameterTuningJobName must be at most 32, is 33"):
        check("CreateHyperParameterTuningJob", tuning("a" * 33, "bucket"))


def test_values_depend_on_name_and_number_and_stay_in_range() -> None:
    config = {"ParameterRanges": RANGES}
    points = [sample(config, "one", number) for number in range(200)]
    assert points == [sample(config, "one", number) for number in range(200)]
    assert points[0] != sample(config, "two", 0)
    assert all(0.01 <= float(point["eta"]) <= 0.3 for point in points)
    assert {point["max_depth"] for point in points} == {"1", "2", "3", "4"}
    assert {point["booster"] for point in points} == {"gbtree", "dart"}
    low = sum(float(point["eta"]) < 0.055 for point in points)  # half of them, on a logarithmic scale
    assert 70 < low < 130


async def test_tuning_really_trains_and_names_the_best(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    await sagemaker.create_hyper_parameter_tuning_job(**tuning("search", bucket), Tags=[{"Key": "plan", "Value": "7"}])
    assert await ended(plane, "search") == "Completed"
    found = await sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="search")
    assert found["HyperParameterTuningJobArn"].endswith(":hyper-parameter-tuning-job/search")
    assert found["TrainingJobStatusCounters"]["Completed"] == found["ObjectiveStatusCounters"]["Succeeded"] == 3
    listed = await sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="search", SortBy="FinalObjectiveMetricValue", SortOrder="Descending"
    )
    values = [job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in listed["TrainingJobSummaries"]]
    assert values == sorted(values, reverse=True)
    assert found["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == values[0] > 0.8

    best = found["BestTrainingJob"]["TrainingJobName"]
    job = await sagemaker.describe_training_job(TrainingJobName=best)
    assert job["TuningJobArn"] == found["HyperParameterTuningJobArn"]
    assert job["HyperParameters"].items() >= {"num_round": "5", **found["BestTrainingJob"]["TunedHyperParameters"]}.items()
    assert (await sagemaker.list_tags(ResourceArn=job["TrainingJobArn"]))["Tags"] == [{"Key": "plan", "Value": "7"}]

    status = await SageMaker(sagemaker).status("tuning", "search")
    assert (status.state, status.artifact) == ("succeeded", job["ModelArtifacts"]["S3ModelArtifacts"])
    assert (status.metrics or {})["validation:auc"] == pytest.approx(values[0])
    took = [item["TrainingEndTime"] - item["TrainingStartTime"] for item in listed["TrainingJobSummaries"]]
    assert status.seconds == pytest.approx(sum(each.total_seconds() for each in took))


async def test_tuning_fails_when_every_training_job_does(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    request = tuning("hopeless", bucket, definition={"StaticHyperParameters": {"num_round": "0"}})
    await sagemaker.create_hyper_parameter_tuning_job(**request)
    assert await ended(plane, "hopeless") == "Failed"
    status = await SageMaker(sagemaker).status("tuning", "hopeless")
    assert (status.state, status.artifact) == ("failed", None)
    assert "All training jobs failed" in status.detail


async def test_unmeasured_tuning_fails_naming_the_metric(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    objective = {"Type": "Minimize", "MetricName": "validation:logloss"}  # and the training jobs report auc
    limits = {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}
    await sagemaker.create_hyper_parameter_tuning_job(
        **tuning("unmeasured", bucket, HyperParameterTuningJobObjective=objective, ResourceLimits=limits)
    )
    assert await ended(plane, "unmeasured") == "Failed"
    found = await sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="unmeasured")
    assert "validation:logloss" in found["FailureReason"]
    assert found["ObjectiveStatusCounters"]["Failed"] == 1


def children(plane: Plane, name: str) -> dict[str, str]:
    """Return the status of a tuning job's training jobs by name."""
    return {job: status for job, status in plane.jobs().items() if job.startswith(f"{name}-0")}


async def test_stopped_tuning_stops_its_training_jobs_first(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    await sagemaker.create_hyper_parameter_tuning_job(**tuning("endless", bucket, definition={"StaticHyperParameters": LONG}))
    await until(lambda: len(children(plane, "endless")) == 2)
    await SageMaker(sagemaker).stop("tuning", "endless")
    assert await ended(plane, "endless") == "Stopped"
    assert set(children(plane, "endless").values()) == {"Stopped"}
    with pytest.raises(sagemaker.exceptions.ClientError, match="is in status Stopped"):
        await sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="endless")
    await SageMaker(sagemaker).stop("tuning", "endless")  # what is over is left alone


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_tuning_goes_on_after_a_restart(start_plane: Callable[..., Plane], s3: Any, bucket: str, number: int) -> None:
    await put_tables(s3, bucket)
    plane = start_plane()
    async with client("sagemaker", plane.url) as sagemaker:
        await sagemaker.create_hyper_parameter_tuning_job(**tuning("resumed", bucket))
    before = await until(lambda: children(plane, "resumed"))
    plane.process.send_signal(number)
    plane.process.wait(timeout=15)
    plane.start()
    assert await ended(plane, "resumed") == "Completed"
    after = children(plane, "resumed")
    assert before.keys() <= after.keys()
    assert [*after.values()] == ["Completed"] * 3


async def test_state_changes_of_a_search_are_told_as_aws_spells_them(start_plane: Callable[..., Plane], s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    async with client("sqs") as sqs:
        url = (await sqs.create_queue(QueueName=f"events-{bucket}"))["QueueUrl"]
        plane = start_plane("--events-queue-url", url)
        async with client("sagemaker", plane.url) as sagemaker:
            limits = {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}
            await sagemaker.create_hyper_parameter_tuning_job(**tuning("told", bucket, ResourceLimits=limits))
            assert await ended(plane, "told") == "Completed"
        plane.stop()
        events: list[Any] = []
        while batch := await messages(sqs, url):
            events += batch
    own = [event["detail"] for event in events if event["detail-type"] == "SageMaker HyperParameter Tuning Job State Change"]
    assert [detail["HyperParameterTuningJobStatus"] for detail in own] == ["InProgress", "Completed"]
    assert own[-1]["BestTrainingJob"]["TrainingJobName"].startswith("told-001-")


async def test_request_of_a_plan_is_taken_once_and_adopted_after(plane: Plane, sagemaker: Any, bucket: str) -> None:
    recipe = Recipe.model_validate({
        "role": ROLE, "output": f"s3://{bucket}/out",
        "training": {"tune": {"jobs": 2, "ranges": {"eta": {"min": 0.01, "max": 0.3, "scale": "log"}, "booster": ["gbtree", "dart"]}}},
    })  # fmt: skip
    assert recipe.training.tune is not None
    request = requests.tune(recipe, recipe.training.tune, Layout.of(recipe, "churn", 1), "ds-churn-adopted", XGBOOST, 1)
    ours = {**request, "Tags": requests.identity_tags(("d", "u"), request)}
    plane.fault(op="CreateHyperParameterTuningJob", code="ResourceInUse", after=True)  # as if the answer had been lost
    jobs = SageMaker(sagemaker)
    for _ in range(2):
        await jobs.create("tuning", ours)
    with pytest.raises(ConfigError, match="not ours"):
        await jobs.create("tuning", {**request, "Tags": requests.identity_tags(("other", "u"), request)})
    assert await ended(plane, "ds-churn-adopted") == "Failed"  # nothing was prepared
    assert (await jobs.status("tuning", "ds-churn-adopted")).state == "failed"
    assert (await jobs.status("tuning", "ds-churn-unknown")).state == "unknown"
    assert len(children(plane, "ds-churn-adopted")) == 2
