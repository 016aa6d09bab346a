"""The gate itself: what a request needs, and that what is not granted is refused."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from .recorder import Gate, Policy, Use, uses
from .support import ACCOUNT, REGION, Json, aws

JOB = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/ds-churn"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/jobs"


def test_creating_a_tagged_job_needs_three_rights() -> None:
    request = {"TrainingJobName": "ds-churn", "RoleArn": ROLE, "Tags": [{"Key": "a", "Value": "b"}]}
    found = uses("sagemaker", {"X-Amz-Target": "SageMaker.CreateTrainingJob"}, "POST", "/", json.dumps(request).encode())
    passed = (("iam:PassedToService", "sagemaker.amazonaws.com"),)
    assert found == [Use("sagemaker:CreateTrainingJob", JOB), Use("sagemaker:AddTags", JOB), Use("iam:PassRole", ROLE, passed)]


def test_reading_a_version_is_a_right_of_its_own() -> None:
    assert uses("s3", {}, "GET", "/b/a%20b?versionId=1", b"") == [Use("s3:GetObjectVersion", "arn:aws:s3:::b/a b")]
    assert uses("s3", {}, "GET", "/b?list-type=2&prefix=x", b"") == [Use("s3:ListBucket", "arn:aws:s3:::b")]


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (Use("s3:GetObject", "arn:aws:s3:::b/in/x"), True),
        (Use("s3:GetObject", "arn:aws:s3:::b/out/x"), False),
        (Use("s3:PutObject", "arn:aws:s3:::b/in/x"), False),
        (Use("iam:PassRole", ROLE), False),
        (Use("iam:PassRole", ROLE, (("iam:PassedToService", "ec2.amazonaws.com"),)), False),
        (Use("iam:PassRole", ROLE, (("iam:PassedToService", "sagemaker.amazonaws.com"),)), True),
    ],
)
def test_policy_grants_what_it_names(use: Use, expected: bool) -> None:
    condition = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    statements: list[Json] = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::b/in/*"]},
        {"Effect": "Allow", "Action": ["iam:PassRole"], "Resource": ROLE, "Condition": condition},
    ]
    assert Policy(statements).allows(use) is expected


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}),
        ("sqs", "receive_message", {"QueueUrl": f"http://127.0.0.1/{ACCOUNT}/q"}),
        ("sns", "publish", {"TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:t", "Message": "m"}),
        ("sagemaker", "describe_training_job", {"TrainingJobName": "ds-churn"}),
        ("stepfunctions", "describe_execution", {"executionArn": f"arn:aws:states:{REGION}:{ACCOUNT}:execution:own:x"}),
    ],
)
def test_gate_refuses_what_is_not_granted(service: str, call: str, arguments: dict[str, str]) -> None:
    nothing = Policy([{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*"}])
    with Gate("detector", nothing, {}, "http://127.0.0.1:1") as gate:
        client = aws(service, gate.url)
        with pytest.raises(ClientError) as caught:
            getattr(client, call)(**arguments)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert len(gate.denied) == 1
