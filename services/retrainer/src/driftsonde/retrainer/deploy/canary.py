"""A small share of the traffic first, then all of it, watched by alarms: SageMaker's blue/green deployment of type CANARY."""

from __future__ import annotations

from driftsonde.core.config import CanaryDeploy, GuardedDeploy
from driftsonde.retrainer.deploy.model import Request
from driftsonde.retrainer.deploy.single import Replace

_MARGIN = 3600  # seconds for instances to start; SageMaker counts them too
_MIN_TIMEOUT, _MAX_TIMEOUT = 600, 28_800


def guard(deploy: GuardedDeploy, routing: Request, steps: int) -> Request:
    """Return the DeploymentConfig of a deployment that bakes `steps` times before all traffic has moved."""
    bake, keep = int(deploy.bake.total_seconds()), int(deploy.keep.total_seconds())
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {**routing, "WaitIntervalInSeconds": bake},
            "TerminationWaitInSeconds": keep,
            "MaximumExecutionTimeoutInSeconds": max(_MIN_TIMEOUT, min(_MAX_TIMEOUT, bake * steps + keep + _MARGIN)),
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in deploy.alarms]},
    }


def capacity(deploy: GuardedDeploy, value: int) -> Request:
    """Return a part of the capacity in SageMaker's shape."""
    return {"Type": "CAPACITY_PERCENT" if deploy.unit == "percent" else "INSTANCE_COUNT", "Value": value}


def canary(deploy: CanaryDeploy) -> Replace:
    """Return the strategy."""
    return Replace(deploy.compute, guard(deploy, {"Type": "CANARY", "CanarySize": capacity(deploy, deploy.size)}, steps=1))
