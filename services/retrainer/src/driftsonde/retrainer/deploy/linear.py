"""Equal steps, each watched by alarms: SageMaker's blue/green deployment of type LINEAR."""

from __future__ import annotations

from driftsonde.core.config import LinearDeploy
from driftsonde.retrainer.deploy.canary import capacity, guard
from driftsonde.retrainer.deploy.single import Replace


def linear(deploy: LinearDeploy) -> Replace:
    """Return the strategy."""
    whole = 100 if deploy.unit == "percent" else deploy.compute.instance_count
    steps = -(-whole // deploy.step)
    return Replace(deploy.compute, guard(deploy, {"Type": "LINEAR", "LinearStepSize": capacity(deploy, deploy.step)}, steps))
