"""The loop through what the template created, each service behind a gate that grants what its role is granted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .conftest import ENDPOINT, MACHINE, NEW, OLD, PIPELINE, Run, frame
from .recorder import unused
from .rest import drive
from .support import ACCOUNT, REGION


@pytest.fixture(scope="module")
def looped(run: Run) -> Run:
    """The run, after drops of both buckets have come, one monitor has drifted, and its model was trained anew."""
    for number in range(2):
        run.put(OLD, f"churn/in/{number}.parquet", frame(100 + number))  # announced by EventBridge
        run.put(NEW, f"in/{number}.parquet", frame(200 + number))  # announced by S3 itself
    run.until(lambda: verdicts(run, "churn") == ["ok"] * 2 and verdicts(run, "fresh") == ["ok"] * 2, "the quiet verdicts")
    for number in range(2, 4):
        run.put(OLD, f"churn/in/{number}.parquet", frame(100 + number, 0.8))
    run.until(lambda: "model.promoted" in told(run), "the promotion", 90)
    run.until(lambda: "batch.finished" in told(run), "the predictions", 60)
    run.until(lambda: "baseline.adopted" in told(run), "the new baseline", 60)
    run.put(OLD, "churn/in/empty.parquet", frame(1).head(0))
    run.stack.client("s3").put_object(Bucket=OLD, Key="churn/in/nonsense.parquet", Body=b"PAR1 nonsense")
    run.until(lambda: "drop.rejected" in told(run), "the refused drop")
    return run


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_loop_runs_through_what_the_template_created(looped: Run) -> None:
    run = looped
    listed = run.stack.client("s3").list_objects_v2(Bucket=OLD, Prefix="out/churn/episode-1/predictions/")
    assert listed["KeyCount"] == 1
    run.until(lambda: any("churn" in json.dumps(message) for message in run.slack.messages), "the Slack message")
    run.until(lambda: len(heard(run)) > 0, "the message of the topic")
    assert all(message["MessageAttributes"]["monitor"]["Value"] == "churn" for message in heard(run))
    letters = run.stack.client("sqs").get_queue_attributes(QueueUrl=run.stack.outputs["DeadLettersUrl"], AttributeNames=["All"])
    assert letters["Attributes"]["ApproximateNumberOfMessages"] == "1"
    assert {service: gate.denied for service, gate in run.gates.items()} == {service: set() for service in run.gates}


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_is_used_is_granted_and_what_is_granted_is_used(looped: Run) -> None:
    asyncio.run(drive(looped))
    for service, gate in looped.gates.items():
        assert gate.denied == set(), f"{service} used what it is not granted"
    left = {service: unused(gate.policy, gate.used) for service, gate in looped.gates.items()}
    assert left == {service: [] for service in looped.gates}, "granted, and not used"


def verdicts(run: Run, monitor: str) -> list[str]:
    """Return the verdicts of a monitor's windows."""
    windows: Any = run.get("detector", f"/api/monitors/{monitor}/windows")
    listed = windows["windows"] if isinstance(windows, dict) else windows
    return [item["verdict"] for item in listed if item["verdict"]]


def told(run: Run) -> set[str]:
    """Return the types of all events of the bus."""
    listed: Any = run.get("detector", "/api/timeline?after=0")
    events = listed["events"] if isinstance(listed, dict) else listed
    return {item["type"].removeprefix("driftsonde.v1.") for item in events}


_HEARD: list[dict[str, Any]] = []


def heard(run: Run) -> list[dict[str, Any]]:
    """Return what the channel's topic has told so far."""
    sqs = run.stack.client("sqs")
    while got := sqs.receive_message(QueueUrl=run.heard_url, MaxNumberOfMessages=10).get("Messages"):
        _HEARD.extend(json.loads(message["Body"]) for message in got)
    return _HEARD


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_rules_take_what_is_theirs(run: Run) -> None:
    jobs = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job"
    assert taken(run, "JobRule", "aws.sagemaker", "SageMaker Training Job State Change", [f"{jobs}/ds-churn-train-1"], {})
    assert not taken(run, "JobRule", "aws.sagemaker", "SageMaker Training Job State Change", [f"{jobs}/somebody-else"], {})
    assert not taken(run, "JobRule", "aws.sagemaker", "SageMaker Notebook Instance State Change", [f"{jobs}/ds-churn-train-1"], {})
    assert taken(run, "EndpointRule", "aws.sagemaker", "SageMaker Endpoint State Change", [ENDPOINT], {})
    assert not taken(run, "EndpointRule", "aws.sagemaker", "SageMaker Endpoint State Change", [f"{ENDPOINT}-2"], {})
    status = "SageMaker Model Building Pipeline Execution Status Change"
    assert taken(run, "PipelineRule", "aws.sagemaker", status, [], {"pipelineArn": PIPELINE})
    assert taken(run, "StateMachineRule", "aws.states", "Step Functions Execution Status Change", [], {"stateMachineArn": MACHINE})
    for key, expected in (("churn/in/a.parquet", True), ("churn/base/a.parquet", False)):
        detail = {"bucket": {"name": OLD}, "object": {"key": key}}
        assert taken(run, "DropRule", "aws.s3", "Object Created", [], detail) is expected


def taken(run: Run, rule: str, source: str, kind: str, resources: list[str], detail: dict[str, Any]) -> bool:
    """Whether a rule of the stack takes an event, as EventBridge sees it."""
    events = run.stack.client("events")
    name = run.stack.resources[rule].rpartition("/")[2]
    pattern = events.describe_rule(Name=name)["EventPattern"]
    event = {
        "id": "1", "version": "0", "account": ACCOUNT, "time": "2026-01-01T00:00:00Z", "region": REGION,
        "source": source, "detail-type": kind, "resources": resources, "detail": detail,
    }  # fmt: skip
    return bool(events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"])
