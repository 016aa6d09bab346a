"""The pure parts: request rules, column filters, relative keys, image names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from driftsonde.core.local.sagemaker.columns import parse_filter, read_row, write_row
from driftsonde.core.local.sagemaker.fleet import Rotation
from driftsonde.core.local.sagemaker.kinds import is_xgboost
from driftsonde.core.local.sagemaker.objects import relative
from driftsonde.core.local.sagemaker.rollout import stages
from driftsonde.core.local.sagemaker.rules import AwsError, check

from .support import blue_green, channel, training, variant


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TrainingJobName": "under_score"}, "TrainingJobName"),
        ({"TrainingJobName": "a" * 64}, "TrainingJobName"),
        ({"TrainingJobName": "ends-with-"}, "TrainingJobName"),
        ({"HyperParameters": {"num_round": "1" * 257}}, "HyperParameters.num_round"),
        ({"HyperParameters": {f"p{i}": "1" for i in range(101)}}, "HyperParameters must be at most 100"),
        ({"Tags": [{"Key": f"k{i}", "Value": "v"} for i in range(51)]}, "Tags"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://bucket/" + "a" * 1024}}, "S3OutputPath"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 28 * 86_400 + 1}}, "MaxRuntimeInSeconds"),
        ({"InputDataConfig": [channel("b", f"c{i}") for i in range(21)]}, "InputDataConfig must be at most 20"),
        ({"InputDataConfig": [channel("b", "train"), channel("b", "train")]}, "given twice"),
        ({"ResourceConfig": {"InstanceType": "my.laptop", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "InstanceType"),
        ({"Environment": {f"V{i}": "1" for i in range(101)}}, "Environment"),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "exactly one of TrainingImage"),
    ],
)
def test_requests_over_a_limit_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(AwsError, match=re.escape(named)) as caught:
        check("CreateTrainingJob", training("limits", "some-bucket", **changes))
    assert caught.value.code == "ValidationException"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB must be at most 100"),
        ({"MaxPayloadInMB": 60, "MaxConcurrentTransforms": 2}, "times MaxConcurrentTransforms"),
        ({"DataProcessing": {"InputFilter": "$.features"}}, "DataProcessing.InputFilter"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "SplitType Line and AssembleWith Line"),
        ({"BatchStrategy": "MultiRecord"}, "needs a SplitType"),
        ({"Environment": {f"V{i}": "1" for i in range(17)}}, "Environment must be at most 16"),
    ],
)
def test_transforms_that_cannot_work_are_refused(changes: dict[str, Any], named: str) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/score/"}}
    request = {
        "TransformJobName": "t",
        "ModelName": "m",
        "TransformInput": {"DataSource": source, "ContentType": "text/csv"},
        "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    check("CreateTransformJob", request)
    with pytest.raises(AwsError, match=re.escape(named)):
        check("CreateTransformJob", {**request, **changes})


def test_client_token_over_its_length_is_refused() -> None:
    with pytest.raises(AwsError, match="ClientToken must be at most 36, is 37"):
        check("CreateModelPackage", {"ModelPackageGroupName": "g", "ClientToken": "a" * 37})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("$", "abcd"),
        ("$[0]", "a"),
        ("$[-1]", "d"),
        ("$[1:]", "bcd"),
        ("$[:-1]", "abc"),
        ("$[1:3]", "bc"),
        ("$[0, 2]", "ac"),
        ("$[:]", "abcd"),
    ],
)
def test_filters_keep_the_columns_they_name(text: str, kept: str) -> None:
    assert list(parse_filter(text)(list("abcd"))) == list(kept)


@pytest.mark.parametrize("text", ["", "$.features", "$[a]", "$[0", "$[?(@.x)]", "$['features']"])
def test_other_json_paths_are_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"use \$"):
        parse_filter(text)


@pytest.mark.parametrize("row", [["a", "b,c", 'd"e'], ["", "1"], ["ünï"]])
def test_rows_survive_writing_and_reading(row: list[str]) -> None:
    assert read_row(write_row(row)) == row


@pytest.mark.parametrize(
    ("prefix", "key", "path"),
    [
        ("data/", "data/x/a.csv", "x/a.csv"),
        ("data", "data/x/a.csv", "x/a.csv"),
        ("data/a.csv", "data/a.csv", "a.csv"),
        ("data/2026-", "data/2026-01.csv", "2026-01.csv"),
        ("", "data/a.csv", "data/a.csv"),
    ],
)
def test_keys_land_below_what_their_prefix_names(prefix: str, key: str, path: str) -> None:
    assert relative(prefix, key) == path


@pytest.mark.parametrize(
    ("image", "built_in"),
    [
        ("246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-xgboost:1.7-1", True),
        ("registry:5000/team/xgboost@sha256:00", True),
        ("registry:5000/xgboost/sklearn:1", False),
        ("team/sklearn:xgboost", False),
    ],
)
def test_built_in_algorithm_is_told_by_repository(image: str, built_in: bool) -> None:
    assert is_xgboost(image) is built_in


@pytest.mark.parametrize(
    ("routing", "named"),
    [
        ({"Type": "CANARY"}, "CanarySize belongs to Type CANARY"),
        ({"Type": "LINEAR", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}, "CanarySize belongs to Type CANARY"),
        ({"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 51}}, "must be 1 to 50 percent"),
        ({"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 9}}, "must be 10 to 50 percent"),
        (
            {"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 10}, "WaitIntervalInSeconds": 100},
            "more than the 900 seconds",
        ),
    ],
)
def test_deployments_that_cannot_work_are_refused(routing: dict[str, Any], named: str) -> None:
    policy = {"TrafficRoutingConfiguration": {"WaitIntervalInSeconds": 0, **routing}, "MaximumExecutionTimeoutInSeconds": 900}
    request = {"EndpointName": "web", "EndpointConfigName": "new", "DeploymentConfig": {"BlueGreenUpdatePolicy": policy}}
    with pytest.raises(AwsError, match=re.escape(named)):
        check("UpdateEndpoint", request)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ProductionVariants": [variant("a", "m"), variant("a", "m")]}, "'a' is given twice"),
        (
            {"ProductionVariants": [variant("a", "m"), variant("b", "m")], "ShadowProductionVariants": [variant("c", "m")]},
            "exactly one production",
        ),
        ({"ProductionVariants": [variant("a", "m", InitialVariantWeight=0.0)]}, "must not all be zero"),
        ({"ProductionVariants": [{"VariantName": "a", "ModelName": "m"}]}, "InitialInstanceCount is required"),
    ],
)
def test_endpoint_configs_that_cannot_work_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(AwsError, match=re.escape(named)):
        check("CreateEndpointConfig", {"EndpointConfigName": "c", **changes})


@pytest.mark.parametrize(
    ("kind", "size", "shares"),
    [("ALL_AT_ONCE", {}, [1.0]), ("CANARY", {"CanarySize": 10}, [0.1, 1.0]), ("LINEAR", {"LinearStepSize": 30}, [0.3, 0.6, 0.9, 1.0])],
)
def test_traffic_moves_in_the_documented_steps(kind: str, size: dict[str, Any], shares: list[float]) -> None:
    steps = stages(blue_green(kind, wait=60, keep=5, **size), instances=1)
    assert [step.share for step in steps] == pytest.approx(shares)
    assert [step.seconds for step in steps] == [*[60] * (len(shares) - 1), 5]


def test_every_name_gets_its_share_of_turns() -> None:
    turns = Rotation()
    picks = [turns.pick({"a": 0.7, "b": 0.2, "c": 0.1, "none": 0.0}) for _ in range(100)]
    assert {name: picks.count(name) for name in "abc"} == {"a": 70, "b": 20, "c": 10}
    assert {name: picks[:10].count(name) for name in "abc"} == {"a": 7, "b": 2, "c": 1}
