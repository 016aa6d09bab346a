"""How a promoted model is brought to an endpoint: `deploy` of a recipe."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from driftsonde.core.config.base import Duration, Section
from driftsonde.core.names import S3Uri


class Hosting(Section):
    """What a variant of an endpoint runs on."""

    instance_type: str = "ml.m5.large"
    instance_count: int = Field(1, ge=1, le=100)


class NoDeploy(Section):
    """The model is used by batch transform only."""

    strategy: Literal["none"] = "none"


class EndpointSection(Section):
    """Base of what brings a promoted model to a real-time endpoint."""

    endpoint: str = Field(
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", description="Name of the SageMaker endpoint; it is created if there is none."
    )
    compute: Hosting = Hosting()


class SingleDeploy(EndpointSection):
    """The new model takes over at once."""

    strategy: Literal["single"]


class ShadowDeploy(EndpointSection):
    """The new model gets copies of the requests for a time; then it takes over, or is taken away."""

    strategy: Literal["shadow"]
    lasts: Annotated[Duration, Field(gt=timedelta(0))] = Field(timedelta(hours=24), alias="for")
    requests: int | None = Field(None, ge=1, description="End it earlier, after so many captured requests; needs `capture`.")
    sample: float = Field(1.0, gt=0, le=1, description="Share of the requests that is copied.")
    capture: S3Uri | None = Field(
        None, description="Prefix where SageMaker writes what was asked and answered. Without it the model only has to stay in service."
    )
    tolerance: float = Field(0.1, ge=0, description="Two answers agree that differ by no more.")
    agreement: float = Field(0.9, ge=0, le=1, description="Share of the answers to the same requests that must agree.")
    errors: float = Field(0.0, ge=0, lt=1, description="Share of the copied requests that may stay without an answer.")
    least: int = Field(1, ge=1, description="Captured requests without which the model is not taken.")
    settle: Duration = Field(timedelta(minutes=10), description="Younger requests are not judged: capture is written with a delay.")

    @model_validator(mode="after")
    def _counts_what_is_captured(self) -> ShadowDeploy:
        if self.requests is not None and self.capture is None:
            raise ValueError("requests are counted in what is captured: set capture, or leave requests out")
        return self


class GuardedDeploy(EndpointSection):
    """Base of deployments in steps, each watched by CloudWatch alarms that roll back."""

    bake: Annotated[Duration, Field(le=timedelta(hours=1))] = Field(timedelta(minutes=10), description="For how long a step is watched.")
    keep: Annotated[Duration, Field(le=timedelta(hours=1))] = Field(
        timedelta(minutes=5), description="For how long the old model stands by after all traffic has moved; still watched."
    )
    alarms: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=10, description="Names of CloudWatch alarms; without one nothing could fail."
    )
    unit: Literal["percent", "instances"] = "percent"


class CanaryDeploy(GuardedDeploy):
    """A small share of the traffic first, then all of it."""

    strategy: Literal["canary"]
    size: int = Field(10, ge=1, description="Of the capacity; at most half.")

    @model_validator(mode="after")
    def _at_most_half(self) -> CanaryDeploy:
        if self.size * 2 > (100 if self.unit == "percent" else self.compute.instance_count):
            raise ValueError(f"size: {self.size} {self.unit} is more than half of the capacity")
        return self


class LinearDeploy(GuardedDeploy):
    """Equal steps."""

    strategy: Literal["linear"]
    step: int = Field(20, ge=1, description="Of the capacity; a tenth to a half.")

    @model_validator(mode="after")
    def _steps_fit(self) -> LinearDeploy:
        whole = 100 if self.unit == "percent" else self.compute.instance_count
        if not whole <= self.step * 10 <= whole * 5:
            raise ValueError(f"step: {self.step} {self.unit} is not a tenth to a half of the capacity")
        if self.bake * -(-whole // self.step) + self.keep > timedelta(hours=7):  # SageMaker's limit is eight hours, all included
            raise ValueError("bake: all steps together take longer than 7h")
        return self


class BanditStop(Section):
    """When a bandit ends."""

    probability: float = Field(0.95, gt=0.5, lt=1, description="As soon as one model is the better one with this probability.")
    most: Annotated[Duration, Field(gt=timedelta(0))] = Field(timedelta(days=30), description="At the latest.")
    least_rows: int = Field(100, ge=1, description="Rewards of each model without which the new one is not taken.")


class BanditDeploy(EndpointSection):
    """Both models answer; the traffic follows the rewards (Thompson sampling)."""

    strategy: Literal["bandit"]
    labels: S3Uri = Field(
        description='Prefix of JSON lines such as {"variant": "ds-churn-model-...", "reward": 1}, written when it is known.'
    )
    reward: str = Field("reward", min_length=1, max_length=128, description="Field of a line that holds the reward, 0 to 1.")
    every: Annotated[Duration, Field(ge=timedelta(seconds=1))] = Field(
        timedelta(minutes=15), description="How often rewards are looked for."
    )
    floor: float = Field(0.05, ge=0, lt=0.5, description="Share of the traffic that each model keeps.")
    stop: BanditStop = BanditStop()


Deploy = Annotated[NoDeploy | SingleDeploy | ShadowDeploy | CanaryDeploy | LinearDeploy | BanditDeploy, Field(discriminator="strategy")]
