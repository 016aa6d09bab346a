"""What a deployment strategy sees, and what it may answer. Pure.

A strategy is asked again and again, and remembers nothing: what has been asked for and what is in force tell it where it
stands. A deployment uses at most two endpoint configurations of its own, `trial` and `live`; the `former` one is what was in
force before, and what a rollback returns to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from driftsonde.core.config import Hosting
from driftsonde.core.errors import ConfigError
from driftsonde.core.ports import EndpointState
from driftsonde.retrainer.deploy.evidence import Evidence

Request: TypeAlias = dict[str, Any]

# What an endpoint was given by its owner stays when we change the model.
_CARRIED: Final = ("DataCaptureConfig", "KmsKeyId", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation")
_ONLY_VARIANT: Final = "AllTraffic"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one deployment, the same on every replica: its two endpoint configurations and its model."""

    trial: str
    live: str
    model: str


@dataclass(frozen=True, slots=True)
class Case:
    """A deployment at one moment, while nothing is being done with its endpoint.

    Args:
        endpoint: the endpoint; None if there is none.
        former: the endpoint configuration that was in force before; None if there was no endpoint.
        asked: the configuration that was asked for last; None if none yet.
        since: since when the present configuration is in force.
        evidence: what the strategy's `source` says; None where it has none.
        seed: what random draws depend on beside the evidence: the deployment, the same on every replica.
    """

    names: Names
    endpoint: EndpointState | None
    former: Mapping[str, Any] | None
    asked: str | None
    since: datetime
    now: datetime
    evidence: Evidence | None = None
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Make an endpoint configuration and have the endpoint take it; `guard` is SageMaker's DeploymentConfig, `reason` for people."""

    config: Request
    guard: Request | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Weigh:
    """Give the variants other weights."""

    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stay:
    """Look again at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Restore:
    """Return to the former configuration."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The deployment is over."""

    outcome: Literal["live", "rolled_back"]
    reason: str


Step: TypeAlias = Ask | Weigh | Stay | Restore | Finish


@dataclass(frozen=True, slots=True)
class Source:
    """Where in S3 a strategy's evidence is. `field` only of rewards."""

    kind: Literal["captures", "rewards"]
    uri: str
    field: str = ""


class Strategy(Protocol):
    """One way to bring a model to an endpoint."""

    def source(self, case: Case) -> Source | None:
        """Return what must be read before the next step; None if nothing."""
        ...

    def step(self, case: Case) -> Step:
        """Return what to do now.

        Raises:
            ConfigError: if the endpoint is not one that the strategy can work on.
        """
        ...


def concluded(case: Case) -> Finish | Restore | None:
    """Return the end of a deployment whose last configuration was asked for; None while it is still on its way. The same for all."""
    endpoint, names = case.endpoint, case.names
    if endpoint is None or case.asked is None:
        return None
    former = case.former["EndpointConfigName"] if case.former else None
    if endpoint.config not in (names.trial, names.live, former):
        return Finish("rolled_back", f"somebody else gave the endpoint another configuration, {endpoint.config}")
    if case.asked == names.live and endpoint.config == names.live and endpoint.status == "InService":
        return Finish("live", "the model serves")
    reason = endpoint.reason or "SageMaker did not take the new configuration"
    if endpoint.config != case.asked:  # SageMaker rolled it back
        return Finish("rolled_back", reason) if endpoint.config == former else Restore(reason)
    return None if endpoint.status == "InService" else Finish("rolled_back", reason)


def replacing(case: Case, compute: Hosting) -> Request:
    """Return the configuration in which the new model answers everything.

    A single variant keeps the name it has: CloudWatch alarms and autoscaling know it by that.
    """
    before = case.former["ProductionVariants"] if case.former else []
    name = before[0]["VariantName"] if len(before) == 1 else _ONLY_VARIANT
    return configuration(case, case.names.live, [variant(name, case.names.model, compute)])


def configuration(case: Case, name: str, variants: list[Request], **more: Any) -> Request:
    """Return an endpoint configuration with these production variants and what the former one had beside its variants."""
    carried = {key: case.former[key] for key in _CARRIED if case.former and key in case.former}
    return {"EndpointConfigName": name, "ProductionVariants": variants, **carried, **more}


def variant(name: str, model: str, compute: Hosting, weight: float = 1.0) -> Request:
    """Return one variant."""
    return {
        "VariantName": name, "ModelName": model, "InitialInstanceCount": compute.instance_count, "InstanceType": compute.instance_type,
        "InitialVariantWeight": weight,
    }  # fmt: skip


def incumbent(case: Case) -> Request:
    """Return the one production variant that was in force before.

    Raises:
        ConfigError: if there were several: which of them is the champion?
    """
    before: list[Request] = list(case.former["ProductionVariants"]) if case.former else []
    if len(before) != 1 or (case.former or {}).get("ShadowProductionVariants"):
        raise ConfigError(f"the endpoint has {len(before)} variants, or a shadow; this strategy needs exactly one to compare with")
    return before[0]
