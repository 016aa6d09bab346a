"""How a model is retrained: the `recipes` section."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from driftsonde.core.config.base import Duration, Section
from driftsonde.core.config.deploys import Deploy, NoDeploy
from driftsonde.core.config.runs import AnyRun
from driftsonde.core.config.tuning import Script, Tune
from driftsonde.core.names import S3Uri


class Compute(Section):
    """What a job runs on."""

    instance_type: str = "ml.m5.large"
    instance_count: int = Field(1, ge=1, le=100)
    volume_gb: int = Field(30, ge=1, le=16_384)
    max_runtime: Duration = timedelta(hours=1)


class Network(Section):
    """The VPC that jobs run in."""

    subnets: tuple[str, ...] = Field(min_length=1, max_length=16)
    security_groups: tuple[str, ...] = Field(min_length=1, max_length=5)


class Security(Section):
    """What every job of the recipe is given."""

    network: Network | None = None
    isolated: bool = Field(False, description="No network calls from the training container (network isolation).")
    encrypt_traffic: bool = Field(False, description="Between the instances of a job; it takes longer.")
    volume_key: str | None = Field(None, max_length=2048, description="KMS key of the instances' disks.")
    output_key: str | None = Field(None, max_length=2048, description="KMS key of what jobs write.")


class LabelSource(Section):
    """Labels that come later than the rows, in objects of their own."""

    uri: S3Uri = Field(description="Prefix of objects with the columns `key` and the label.")
    key: str = Field(min_length=1, description="Column, of the drops and of the labels, by which they are joined.")
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"


class DataSection(Section):
    """Base of what a model is trained on."""

    reference: bool = Field(False, description="Train on the baseline's data too.")
    labels: LabelSource | None = None
    most: int = Field(1_000, ge=1, le=10_000, description="Drops at most: the latest.")


class EpisodeData(DataSection):
    """The drops that drifted."""

    source: Literal["episode"] = Field("episode", alias="from")


class SinceTrainingData(DataSection):
    """The drops since the last training of the monitor; of the first one, those of the episode."""

    source: Literal["since_training"] = Field(alias="from")


class RecentData(DataSection):
    """The drops of some days."""

    source: Literal["recent"] = Field(alias="from")
    last: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(days=30)


class FixedData(DataSection):
    """Whatever lies under a prefix when the plan begins."""

    source: Literal["fixed"] = Field(alias="from")
    uri: S3Uri


def _of_the_episode(value: Any) -> Any:
    return {"from": "episode", **value} if isinstance(value, dict) else value


TrainingData = Annotated[
    EpisodeData | SinceTrainingData | RecentData | FixedData, Field(discriminator="source"), BeforeValidator(_of_the_episode)
]


class Steps(Section):
    """Image and command of the prepare and evaluate steps; the defaults run driftsonde's own."""

    image: str = Field("driftsonde-steps", max_length=255)
    prepare: tuple[str, ...] = ("python", "-m", "driftsonde.retrainer.steps.prepare")
    evaluate: tuple[str, ...] = ("python", "-m", "driftsonde.retrainer.steps.evaluate")
    compute: Compute = Compute()
    environment: dict[str, str] = Field({})


class Training(Section):
    """The training job."""

    image: str | None = Field(None, max_length=255, description="Default: SageMaker's built-in XGBoost of the region.")
    command: tuple[str, ...] = Field((), description="ContainerEntrypoint of an own image; empty: the image's own.")
    script: Script | None = Field(None, description="Run a script in the image, which must be given then and know script mode.")
    tune: Tune | None = Field(None, description="Search for the best hyperparameters.")
    hyperparameters: dict[str, str] = Field({}, max_length=100)
    compute: Compute = Compute()
    spot: Annotated[Duration, Field(gt=timedelta(0))] | None = Field(
        None, description="Train on spot instances, and wait for them and the job together at most so long; checkpoints are kept in S3."
    )
    keep_warm: Annotated[Duration, Field(le=timedelta(hours=1))] | None = Field(
        None, description="Keep the instances for the next training (warm pool); not with spot."
    )
    channels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], S3Uri] = Field(
        {}, max_length=18, description="More input channels by name; train and validation are there already."
    )

    @model_validator(mode="after")
    def _one_way_to_save(self) -> Training:
        if self.spot is not None and self.keep_warm is not None:
            raise ValueError("keep_warm: SageMaker keeps no spot instances warm; choose one")
        if self.spot is not None and self.spot < self.compute.max_runtime:
            raise ValueError(f"spot: {self.spot} is shorter than compute.max_runtime, {self.compute.max_runtime}")
        if taken := {"train", "validation"} & self.channels.keys():
            raise ValueError(f"channels: {min(taken)} is written by the prepare step")
        return self

    @model_validator(mode="after")
    def _one_program(self) -> Training:
        if self.script is not None and (self.image is None or self.command):
            raise ValueError("script: needs an image, and no command: the image's own runs the script")
        if self.tune is None:
            return self
        if self.command:
            raise ValueError("tune: SageMaker's tuning jobs take no command; use training.script, or an image that needs none")
        if self.script is not None and self.tune.regex is None:
            raise ValueError("tune.regex: not set; SageMaker does not know how a script reports its metric")
        if fixed := self.tune.ranges.keys() & self.hyperparameters.keys():
            raise ValueError(f"tune.ranges: {min(fixed)} is set in hyperparameters too")
        return self


class Gate(Section):
    """When a challenger becomes champion."""

    metric: Literal["auc", "logloss", "rmse"] = "auc"
    direction: Literal["max", "min"] = "max"
    margin: float = Field(0.0, ge=0, description="By how much the challenger must be better.")
    minimum_rows: int = Field(200, ge=1, description="Held-out rows without which nothing is decided.")
    confidence: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="With which the challenger must be better by more than the margin (paired bootstrap); 0.5 looks at the estimate alone.",
    )


class Batch(Section):
    """The batch transform that follows a promotion."""

    enabled: bool = True
    keep: tuple[str, ...] = Field((), description="Columns of the drops, such as ids, that stand in front of each prediction.")
    compute: Compute = Compute()


class Champion(Section):
    """The model in production before driftsonde trained one."""

    model: S3Uri = Field(description="Its model.tar.gz")
    encoding: S3Uri = Field(description="The encoding.json that its training data was prepared with.")


class Recipe(Section):
    """How a model is retrained."""

    role: str = Field(
        "", pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$", description="Execution role of the jobs; required unless `run` is set."
    )
    output: S3Uri = Field(description="Prefix for everything that the jobs write.")
    package_group: str | None = Field(None, description="Model package group; default: ds-<monitor>.")
    data: TrainingData = EpisodeData()
    steps: Steps = Steps()
    security: Security = Security()
    tags: dict[str, str] = Field({}, max_length=40, description="Of every job and model, beside driftsonde's own.")
    training: Training = Training()
    gate: Gate = Gate()
    batch: Batch = Batch()
    champion: Champion | None = None
    deploy: Deploy = NoDeploy()
    run: AnyRun | None = Field(None, description="Start what you have instead of jobs; only `output` and `data` stand beside it.")

    @model_validator(mode="after")
    def _jobs_or_run(self) -> Recipe:
        if self.run is None and not self.role:
            raise ValueError("role: missing; the jobs need an execution role")
        if self.run is not None and (idle := self.model_fields_set - {"run", "role", "output", "data"}):
            raise ValueError(f"{min(idle)}: is of jobs, and `run` starts none; take one of the two out")
        return self

    @model_validator(mode="after")
    def _script_can_be_fetched(self) -> Recipe:
        if self.training.script is not None and self.security.isolated:
            raise ValueError("training.script: is fetched by the container, which security.isolated keeps from the network")
        return self
