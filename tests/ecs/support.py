"""The template: read, deployed to the emulator, and its tasks as environments of child processes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from botocore.session import get_session
from cfnlint.decode import decode  # type: ignore[import-untyped,unused-ignore]  # ships no types

TEMPLATE = Path(__file__).parents[2] / "deploy" / "ecs" / "driftsonde.yaml"
REGION, ACCOUNT, NAME = "us-east-1", "111122223333", "drift"
SERVICES = ("detector", "retrainer", "notifier")
NO_VALUE = object()
_SESSION = get_session()

Json = dict[str, Any]


@cache
def read_template() -> Json:
    """Return the template with its functions in their long form."""
    template, problems = decode(str(TEMPLATE))
    assert not problems, problems
    return dict(template)


def aws(service: str, endpoint: str) -> Any:
    """Return a client of the emulator, in an account of this suite alone: a key of twelve digits is one."""
    return _SESSION.create_client(
        service, region_name=REGION, endpoint_url=endpoint, aws_access_key_id=ACCOUNT, aws_secret_access_key="test"
    )


class Resolver:
    """What CloudFormation's functions come to, with given parameters.

    Args:
        ids: what `Ref` gives for resources, by their logical names.
    """

    def __init__(self, template: Json, parameters: Mapping[str, str], ids: Mapping[str, str] | None = None) -> None:
        given = {name: parameters.get(name, item.get("Default")) for name, item in template["Parameters"].items()}
        lists = {name for name, item in template["Parameters"].items() if "List" in item["Type"]}
        self._values: dict[str, Any] = {
            name: str(value or "").split(",") if name in lists else None if value is None else str(value) for name, value in given.items()
        }
        pseudo = {"Region": REGION, "AccountId": ACCOUNT, "StackName": NAME, "URLSuffix": "amazonaws.com", "Partition": "aws"}
        self._values |= {f"AWS::{name}": value for name, value in pseudo.items()} | {"AWS::NoValue": NO_VALUE}
        self._values |= {name: (ids or {}).get(name, f"<{name}>") for name in template["Resources"]}
        self._conditions = template["Conditions"]

    def condition(self, name: str) -> bool:
        """Whether a condition holds."""
        return bool(self(self._conditions[name]))

    def __call__(self, value: Any) -> Any:
        """Return a value with every function replaced by what it comes to."""
        if isinstance(value, dict) and len(value) == 1:
            ((name, argument),) = value.items()
            if name in ("Ref", "Condition") and isinstance(argument, str):
                return self._values[argument] if name == "Ref" else self.condition(argument)
            if str(name).startswith("Fn::"):
                return getattr(self, "_" + str(name).removeprefix("Fn::").lower())(argument)
        if isinstance(value, dict):
            return {key: found for key, item in value.items() if (found := self(item)) is not NO_VALUE}
        if isinstance(value, list):
            return [found for item in value if (found := self(item)) is not NO_VALUE]
        return value

    def _if(self, argument: list[Any]) -> Any:
        return self(argument[1] if self.condition(argument[0]) else argument[2])

    def _equals(self, argument: list[Any]) -> bool:
        left, right = (str(self(item)) for item in argument)
        return left == right

    def _not(self, argument: list[Any]) -> bool:
        return not self(argument[0])

    def _and(self, argument: list[Any]) -> bool:
        return all(self(item) for item in argument)

    def _join(self, argument: list[Any]) -> str:
        return str(argument[0]).join(self(argument[1]))

    def _split(self, argument: list[Any]) -> list[str]:
        return str(self(argument[1])).split(argument[0])

    def _select(self, argument: list[Any]) -> Any:
        return self(argument[1])[int(argument[0])]

    def _getatt(self, argument: list[str] | str) -> str:
        return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"

    def _sub(self, argument: Any) -> str:
        text, names = (argument, {}) if isinstance(argument, str) else argument
        known = {**self._values, **{name: self(item) for name, item in names.items()}}
        filled = re.sub(r"\$\{([^!}]+)\}", lambda match: str(known.get(match[1], f"<{match[1]}>")), text)
        return filled.replace("${!", "${")


class Deployed:
    """The stack, as the emulator has it."""

    def __init__(self, emulator: str, parameters: Mapping[str, str], name: str = NAME) -> None:
        self.emulator, self.parameters, self.name = emulator, dict(parameters), name
        s3, formation = aws("s3", emulator), aws("cloudformation", emulator)
        s3.create_bucket(Bucket="templates")
        s3.put_object(Bucket="templates", Key="driftsonde.yaml", Body=TEMPLATE.read_bytes())
        formation.create_stack(
            StackName=name, TemplateURL=f"{emulator}/templates/driftsonde.yaml", Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )  # fmt: skip
        self.description = self._settled(formation)
        self.outputs = {item["OutputKey"]: item["OutputValue"] for item in self.description["Outputs"]}
        found = formation.describe_stack_resources(StackName=name)["StackResources"]
        self.resources = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in found}

    def _settled(self, formation: Any) -> Json:
        deadline = time.monotonic() + 60
        while True:
            stack: Json = formation.describe_stacks(StackName=self.name)["Stacks"][0]
            if not stack["StackStatus"].endswith("IN_PROGRESS"):
                events = formation.describe_stack_events(StackName=self.name)["StackEvents"]
                failed = [
                    (item["LogicalResourceId"], item.get("ResourceStatusReason")) for item in events if "FAILED" in item["ResourceStatus"]
                ]
                assert stack["StackStatus"] == "CREATE_COMPLETE", failed
                return stack
            assert time.monotonic() < deadline, stack
            time.sleep(0.1)

    def client(self, service: str) -> Any:
        """Return a client of the emulator."""
        return aws(service, self.emulator)

    def container(self, service: str) -> Json:
        """Return the service's container, in the task definition that its ECS service runs."""
        ecs = self.client("ecs")
        running = ecs.describe_services(cluster=self.outputs["Cluster"], services=[service])["services"][0]
        task = ecs.describe_task_definition(taskDefinition=running["taskDefinition"])["taskDefinition"]
        found: Json = next(item for item in task["containerDefinitions"] if item["name"] == service)
        return found

    def environment(self, service: str) -> dict[str, str]:
        """Return the container's variables, its secrets among them.

        The emulator's CloudFormation forgets what is below `Secrets`, so these are taken from the template.
        """
        found = {item["name"]: item["value"] for item in self.container(service)["environment"]}
        template = read_template()
        container = template["Resources"][f"{service.title()}Task"]["Properties"]["ContainerDefinitions"][0]
        for item in Resolver(template, self.parameters, self.resources)(container["Secrets"]):
            found[item["Name"]] = self._secret(item["ValueFrom"])
        return found

    def _secret(self, place: str) -> str:
        arn, key = place, ""
        if place.endswith("::"):
            arn, key = place.removesuffix("::").rsplit(":", 1)
        text: str = self.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
        return str(json.loads(text)[key]) if key else text

    def statements(self, service: str) -> list[Json]:
        """Return what the service's role may do, as IAM has it."""
        iam, role = self.client("iam"), self.container_role(service)
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        policies = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
        return [statement for policy in policies for statement in policy["Statement"]]

    def container_role(self, service: str) -> str:
        """Return the name of the role that the service's task runs as."""
        ecs = self.client("ecs")
        running = ecs.describe_services(cluster=self.outputs["Cluster"], services=[service])["services"][0]
        task = ecs.describe_task_definition(taskDefinition=running["taskDefinition"])["taskDefinition"]
        return str(task["taskRoleArn"]).rpartition("/")[2]
