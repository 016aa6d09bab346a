"""What the code can call, read from the code: a new call needs a right, and a place in the run that shows it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from .support import ACCOUNT, REGION, Resolver, read_template

ROOT = Path(__file__).parents[2]
CORE = ROOT / "shared" / "src" / "driftsonde" / "core"
SHARED = [CORE / "aws" / "queue.py", CORE / "bus" / "sns.py"]
SOURCES = {
    "detector": [*SHARED, CORE / "aws" / "objects.py", ROOT / "services" / "detector"],
    "retrainer": [*SHARED, CORE / "aws" / "objects.py", ROOT / "services" / "retrainer"],
    "notifier": [*SHARED, ROOT / "services" / "notifier"],
}
PREFIXES = {"s3": "s3", "sqs": "sqs", "sns": "sns", "sagemaker": "sagemaker", "stepfunctions": "states"}
RECEIVERS = ("client", "_client", "_sns", "sagemaker")
OTHER_NAMES = {"s3:HeadObject": "s3:GetObject", "s3:ListObjectsV2": "s3:ListBucket", "sqs:DeleteMessageBatch": "sqs:DeleteMessage"}
NOT_ITS_OWN = {
    # The adapter to S3 is shared; only the retrainer writes.
    "detector": {"s3:PutObject"},
}
IMPLIED = {"s3:GetObjectVersion", "sagemaker:AddTags", "iam:PassRole"}
"""Rights of a parameter, and of no call: a version, tags, a role."""


@functools.cache
def operations() -> dict[str, set[str]]:
    """Return the actions of every method that a client of ours may have."""
    session, found = botocore.session.get_session(), dict[str, set[str]]()
    for service, prefix in PREFIXES.items():
        for operation in session.get_service_model(service).operation_names:
            action = f"{prefix}:{operation}"
            found.setdefault(xform_name(operation), set()).add(OTHER_NAMES.get(action, action))
    return found


def calls(place: Path) -> set[str]:
    """Return the actions that the code of a file or folder asks for: methods of clients, and names that getattr is given."""
    found: set[str] = set()
    for path in [place] if place.is_file() else sorted(place.glob("src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                receiver = node.func.value
                name = receiver.attr if isinstance(receiver, ast.Attribute) else receiver.id if isinstance(receiver, ast.Name) else ""
                if name in RECEIVERS:
                    found |= operations().get(node.func.attr, set())
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name == "sagemaker.py":
                found |= operations().get(node.value, set())
    return found


def granted(service: str) -> set[str]:
    """Return the actions of a service's role, with every capability switched on."""
    template = read_template()
    topics = f"arn:aws:sns:{REGION}:{ACCOUNT}:told"
    everything = {"Endpoints": "e", "Pipelines": "p", "StateMachines": "s", "ChannelTopics": topics, "DataBuckets": "b", "NewBucket": "n"}
    resolved = Resolver(template, {**everything, "ReadPaths": "b/*", "OutputPath": "b/out/"})
    (policy,) = resolved(template["Resources"][f"{service.title()}Role"]["Properties"]["Policies"])
    statements = policy["PolicyDocument"]["Statement"]
    return {action for item in statements for action in ([item["Action"]] if isinstance(item["Action"], str) else item["Action"])}


@pytest.mark.parametrize("service", SOURCES)
def test_every_call_in_the_code_is_granted_and_nothing_else(service: str) -> None:
    callable_ = set().union(*(calls(place) for place in SOURCES[service])) - NOT_ITS_OWN.get(service, set())
    assert callable_ - granted(service) == set(), "the code calls what the role is not granted"
    assert granted(service) - callable_ - IMPLIED == set(), "the role is granted what no code calls"


def test_scan_sees_what_is_known() -> None:
    found = calls(ROOT / "services" / "retrainer")
    assert {"sagemaker:CreateTrainingJob", "sagemaker:StopTransformJob", "sagemaker:ListTags", "states:StopExecution"} <= found
    assert calls(CORE / "bus" / "sns.py") == {"sns:Publish"}
    assert "s3:ListBucket" in calls(CORE / "aws" / "objects.py")
