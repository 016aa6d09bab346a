"""The template by itself: lint, and the rules that a reviewer would look for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import pytest
import yaml
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped,unused-ignore]  # ships no types

from driftsonde.core.config import parse_duration
from driftsonde.core.settings import ServiceSettings
from driftsonde.detector.settings import DetectorSettings
from driftsonde.notifier.settings import NotifierSettings
from driftsonde.retrainer.settings import RetrainerSettings

from .support import ACCOUNT, REGION, SERVICES, TEMPLATE, Json, Resolver, read_template

SETTINGS: dict[str, type[ServiceSettings]] = {"detector": DetectorSettings, "retrainer": RetrainerSettings, "notifier": NotifierSettings}
NOT_OURS = {"AWS_REGION", "CONFIG_YAML", "CHANNEL_SECRETS", "PGPASSWORD"}
NO_RESOURCE_LEVEL = {
    "ecr:GetAuthorizationToken": "a token is of the whole registry",
    "cloudwatch:PutMetricData": "has no resource; the namespace is a condition",
}
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:"
EXISTING = {
    "ImageRegistry": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com", "ImageTag": "1", "ConfigSecret": f"{SECRET}config-a1b2c3", "DataBuckets": "acme-ml",
    "ReadPaths": "acme-ml/in/*,acme-ml/base/*", "OutputPath": "acme-ml/out/", "Database": "existing", "DatabaseSecret": f"{SECRET}database-a1b2c3",
}  # fmt: skip
FULL = {
    **EXISTING, "Database": "aurora", "DatabaseSecret": "", "ChannelSecret": f"{SECRET}channels-a1b2c3", "NewBucket": "acme-new", "Metrics": "prometheus",
    "MetricsWorkspace": "ws-1", "ClientSecurityGroup": "sg-1", "AlarmTopic": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms", "PublicUrl": "https://drift.example",
    "Endpoints": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/live", "Pipelines": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/own",
    "StateMachines": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:own", "ChannelTopics": f"arn:aws:sns:{REGION}:{ACCOUNT}:told",
}  # fmt: skip
CHOICES = {
    "existing": EXISTING,
    "full": FULL,
    "rds": {**EXISTING, "Database": "rds", "DatabaseSecret": ""},
    "emf": {**FULL, "Metrics": "cloudwatch"},
}


@cache
def made(choice: str) -> dict[str, Json]:
    """Return the resources that a choice of parameters leads to, resolved."""
    template, resolver = read_template(), Resolver(read_template(), CHOICES[choice])
    kept = {name: item for name, item in template["Resources"].items() if "Condition" not in item or resolver.condition(item["Condition"])}
    return {name: {"Type": item["Type"], **resolver(item.get("Properties", {}))} for name, item in kept.items()}


def of_type(choice: str, kind: str) -> dict[str, Json]:
    return {name: item for name, item in made(choice).items() if item["Type"] == kind}


def containers(choice: str) -> Iterator[tuple[str, Json]]:
    for task in of_type(choice, "AWS::ECS::TaskDefinition").values():
        for container in task["ContainerDefinitions"]:
            yield container["Name"], container


def statements(choice: str) -> Iterator[tuple[str, Json]]:
    for name, role in of_type(choice, "AWS::IAM::Role").items():
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_lint_finds_nothing() -> None:
    found = lint(TEMPLATE.read_text(), config=ManualArgs(regions=["us-east-1", "eu-west-1"]))
    assert [str(item) for item in found] == []
    assert "cfn-lint" not in TEMPLATE.read_text(), "no rule is switched off in the file"


def test_every_parameter_is_in_a_group_and_every_condition_used() -> None:
    template = read_template()
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(template["Parameters"])


@pytest.mark.parametrize("choice", CHOICES)
def test_containers_are_hardened(choice: str) -> None:
    for name, container in containers(choice):
        assert container["ReadonlyRootFilesystem"] is True, name
        assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}, name
        assert not container.get("Privileged"), name
        assert container["LogConfiguration"]["LogDriver"] == "awslogs", name
        if name in SERVICES:
            assert container["User"] == "10001:10001"
            assert container["HealthCheck"]["Command"][:2] == ["CMD", "python"]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("service", SERVICES)
def test_variables_are_settings_and_what_is_secret_is_a_reference(choice: str, service: str) -> None:
    (container,) = [item for name, item in containers(choice) if name == service]
    plain, secret = ({item["Name"] for item in container[part]} for part in ("Environment", "Secrets"))
    fields = {f"DRIFTSONDE_{name.upper()}" for name in SETTINGS[service].model_fields}
    assert plain | secret <= fields | NOT_OURS
    assert plain & secret == set()
    required = {f"DRIFTSONDE_{name.upper()}" for name, field in SETTINGS[service].model_fields.items() if field.is_required()}
    assert required <= plain | secret
    assert {"DRIFTSONDE_API_TOKEN", "DRIFTSONDE_APPROVAL_SECRET", "CONFIG_YAML", "CHANNEL_SECRETS", "PGPASSWORD"} & plain == set()
    for item in container["Environment"]:
        assert not re.search(r"://[^@/]*:[^@/]*@", str(item["Value"])), "a password in a variable"


@pytest.mark.parametrize("choice", CHOICES)
def test_settings_of_the_tasks_are_accepted(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for service, kind in SETTINGS.items():
        (container,) = [item for name, item in containers(choice) if name == service]
        with monkeypatch.context() as patch:
            for item in container["Environment"]:
                patch.setenv(item["Name"], str(item["Value"]))
            for item in container["Secrets"]:
                patch.setenv(item["Name"], "sqlite:///x" if item["Name"] == "DRIFTSONDE_DATABASE_URL" else "a-secret-of-some-length")
            settings = kind.load()
        assert container["StopTimeout"] > settings.grace.total_seconds()
        assert container["StopTimeout"] <= 120, "the most that Fargate waits"
        assert container["PortMappings"] == [{"ContainerPort": settings.port, "Protocol": "tcp"}]


def test_queues_keep_what_they_hold_and_give_up_late() -> None:
    queues = of_type("full", "AWS::SQS::Queue")
    lease = DetectorSettings.model_fields["lease"].default
    for name, queue in queues.items():
        assert queue["SqsManagedSseEnabled"] is True, name
        if "DeadLetters" not in name:
            assert queue["RedrivePolicy"]["maxReceiveCount"] == 1000, name
            assert parse_duration(f"{queue['VisibilityTimeout']}s") >= lease, name
    assert {name for name, queue in queues.items() if queue.get("FifoQueue")} == {
        "DetectorEvents", "RetrainerEvents", "NotifierEvents", "BusDeadLetters",
    }  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
def test_queue_policies_want_tls_and_a_source(choice: str) -> None:
    policies = of_type(choice, "AWS::SQS::QueuePolicy")
    covered = {queue for policy in policies.values() for queue in policy["Queues"]}
    assert covered == {f"<{name}>" for name in of_type(choice, "AWS::SQS::Queue")}
    for name, policy in policies.items():
        tls, *allowed = policy["PolicyDocument"]["Statement"]
        assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}}), name
        for statement in allowed:
            assert statement["Action"] == "sqs:SendMessage"
            assert "aws:SourceArn" in statement["Condition"]["ArnEquals"], name


@pytest.mark.parametrize("choice", CHOICES)
def test_roles_grant_by_name(choice: str) -> None:
    for role, statement in statements(choice):
        actions = listed(statement["Action"])
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in actions), (role, actions)
        if "*" in listed(statement["Resource"]):
            assert set(actions) <= set(NO_RESOURCE_LEVEL), (role, actions)
        assert all(not re.fullmatch(r"arn:aws:s3:::\*.*", item) for item in listed(statement["Resource"])), role


def test_every_action_can_be_granted_on_what_it_is_granted_on() -> None:
    """The Service Authorization Reference, as cfn-lint brings it, says which actions have which resources."""
    reference = json.loads((resources.files("cfnlint.data.AdditionalSpecs") / "Policies.json").read_text())
    for role, statement in statements("full"):
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            known = {kind.lower(): item.get("ARNFormats", []) for kind, item in reference[service]["Resources"].items()}
            kinds = reference[service]["Actions"][name.lower()].get("Resources", [])
            prefixes = [_prefix(form) for kind in kinds for form in known[kind.lower()]]
            for item in listed(statement["Resource"]):
                if item != "*" and not item.startswith("<"):
                    assert item.split(":", 5)[5].startswith(tuple(prefixes)), (role, action, item, prefixes)


def _prefix(form: str) -> str:
    """Return what the last part of an ARN of that form begins with; forms are regular expressions, but for their `${…}`."""
    return re.split(r"\.\*|\$\{|\[", form.split(":", 5)[5])[0]


def test_only_the_job_role_may_be_handed_over_and_to_sagemaker_only() -> None:
    found = [(role, item) for role, item in statements("full") if "iam:PassRole" in listed(item["Action"])]
    assert [role for role, _ in found] == ["RetrainerRole"]
    assert found[0][1]["Resource"] == "<MadeJobRole.Arn>"
    assert found[0][1]["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_task_may_read_its_secrets_and_no_others(choice: str) -> None:
    (granted,) = [set(item["Resource"]) for role, item in statements(choice) if item.get("Sid") == "Secrets"]
    used = {item["ValueFrom"] for name, container in containers(choice) if name in SERVICES for item in container["Secrets"]}
    assert {re.sub(r":[a-z]+::$", "", place) for place in used} == granted


def test_collector_configurations_are_yaml() -> None:
    for choice, exporter in (("full", "prometheusremotewrite"), ("emf", "awsemf")):
        config = yaml.safe_load(made(choice)["CollectorConfig"]["Value"])
        (pipeline,) = config["service"]["pipelines"].values()
        assert pipeline["exporters"] == [exporter]
        assert set(pipeline["processors"]) == set(config["processors"])
        (scrape,) = config["receivers"]["prometheus"]["config"]["scrape_configs"]
        assert scrape["static_configs"][0]["targets"] == ["127.0.0.1:${env:PORT}"]
        collectors = [container for name, container in containers(choice) if name == "collector"]
        assert [{item["Name"]: item["Value"] for item in container["Environment"]}["PORT"] for container in collectors] == [
            "8080",
            "8081",
            "8082",
        ]


def test_choices_leave_out_what_they_do_not_need() -> None:
    kinds = {choice: {item["Type"] for item in made(choice).values()} for choice in CHOICES}
    assert not any("RDS" in kind or "S3" in kind or "SSM" in kind for kind in kinds["existing"])
    assert "AWS::RDS::DBCluster" in kinds["full"]
    assert "AWS::RDS::DBCluster" not in kinds["rds"]
    assert all("collector" not in name for name, _ in containers("existing"))


def test_database_is_encrypted_private_and_kept() -> None:
    for name, item in read_template()["Resources"].items():
        if item["Type"] in ("AWS::RDS::DBCluster", "AWS::RDS::DBInstance") and name != "AuroraInstance":
            assert item["DeletionPolicy"] == "Snapshot"
            assert (item["Properties"]["StorageEncrypted"], item["Properties"]["DeletionProtection"]) == (True, True)
            assert item["Properties"]["MasterUserPassword"] == {
                "Fn::Sub": "{{resolve:secretsmanager:${DatabasePassword}:SecretString:password}}"
            }
        if item["Type"] == "AWS::RDS::DBInstance":
            assert item["Properties"]["PubliclyAccessible"] is False


def test_scaling_follows_the_age_of_the_oldest_drop() -> None:
    tracking = made("full")["DetectorByAge"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["CustomizedMetricSpecification"]["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert tracking["CustomizedMetricSpecification"]["Dimensions"] == [{"Name": "QueueName", "Value": "<Intake.QueueName>"}]
    assert "DesiredCount" not in made("full")["DetectorService"]
