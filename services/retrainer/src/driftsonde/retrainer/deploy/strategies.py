"""Which strategy a recipe asks for."""

from __future__ import annotations

from driftsonde.core.config import BanditDeploy, CanaryDeploy, Deploy, LinearDeploy, NoDeploy, ShadowDeploy, SingleDeploy
from driftsonde.retrainer.deploy.bandit import Bandit
from driftsonde.retrainer.deploy.canary import canary
from driftsonde.retrainer.deploy.linear import linear
from driftsonde.retrainer.deploy.model import Strategy
from driftsonde.retrainer.deploy.shadow import Shadow
from driftsonde.retrainer.deploy.single import Replace


def strategy_of(deploy: Deploy) -> Strategy | None:
    """Return the strategy; None for a model that needs no endpoint."""
    match deploy:
        case NoDeploy():
            return None
        case SingleDeploy():
            return Replace(deploy.compute)
        case CanaryDeploy():
            return canary(deploy)
        case LinearDeploy():
            return linear(deploy)
        case ShadowDeploy():
            return Shadow(deploy)
        case BanditDeploy():
            return Bandit(deploy)
