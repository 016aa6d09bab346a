"""How traffic moves from an old fleet to a new one: blue/green all at once, with a canary, or in equal steps. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

DEFAULT_TIMEOUT: Final = 28_800
"""Seconds that a deployment may take where the request does not say."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A share of the traffic (0 to 1) on the new fleet, and for how many seconds it is watched there."""

    share: float
    seconds: int


def stages(deployment: Mapping[str, Any] | None, instances: int) -> list[Stage]:
    """Return the steps of a deployment to a fleet of `instances`; without a policy, all traffic moves at once."""
    policy = (deployment or {}).get("BlueGreenUpdatePolicy", {})
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    last = Stage(1.0, policy.get("TerminationWaitInSeconds", 0))
    size = routing.get({"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(routing["Type"], ""))
    if size is None:
        return [last]
    step = size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else instances)
    count = 2 if routing["Type"] == "CANARY" else math.ceil(1 / step)
    return [*(Stage(min(1.0, step * number), routing["WaitIntervalInSeconds"]) for number in range(1, count)), last]


def alarms(deployment: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the alarms that roll a deployment back."""
    configured = (deployment or {}).get("AutoRollbackConfiguration", {}).get("Alarms", [])
    return [alarm["AlarmName"] for alarm in configured if "AlarmName" in alarm]


def timeout(deployment: Mapping[str, Any] | None) -> int:
    """Return how many seconds a deployment may take."""
    return int((deployment or {}).get("BlueGreenUpdatePolicy", {}).get("MaximumExecutionTimeoutInSeconds", DEFAULT_TIMEOUT))


def problems(deployment: Mapping[str, Any]) -> Iterator[str]:
    """Yield what SageMaker would refuse in a DeploymentConfig, and what this machine cannot do."""
    if "RollingUpdatePolicy" in deployment:
        yield "DeploymentConfig.RollingUpdatePolicy is not supported locally; use a BlueGreenUpdatePolicy"
    policy = deployment.get("BlueGreenUpdatePolicy")
    if policy is None:
        return
    routing = policy["TrafficRoutingConfiguration"]
    for kind, field in (("CANARY", "CanarySize"), ("LINEAR", "LinearStepSize")):
        if (routing["Type"] == kind) != (field in routing):
            yield f"TrafficRoutingConfiguration: {field} belongs to Type {kind}, and only to it"
            return
    size = routing.get("CanarySize", routing.get("LinearStepSize", {}))
    if size.get("Type") == "CAPACITY_PERCENT":
        least = 10 if routing["Type"] == "LINEAR" else 1
        if not least <= size["Value"] <= 50:
            yield f"TrafficRoutingConfiguration: a step must be {least} to 50 percent, is {size['Value']}"
            return
        waiting = sum(stage.seconds for stage in stages(deployment, 1))
        if waiting >= timeout(deployment):
            yield f"MaximumExecutionTimeoutInSeconds must be more than the {waiting} seconds that the deployment waits in total"


def size_problems(deployment: Mapping[str, Any] | None, instances: int) -> Iterator[str]:
    """Yield what is wrong with a step that is given as a number of instances."""
    routing = (deployment or {}).get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    size = routing.get("CanarySize", routing.get("LinearStepSize", {}))
    if size.get("Type") == "INSTANCE_COUNT" and size["Value"] * 2 > instances:
        yield f"TrafficRoutingConfiguration: a step of {size['Value']} instances is over half of the variant's {instances}"
