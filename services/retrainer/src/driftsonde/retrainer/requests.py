"""SageMaker requests of a plan's steps, in SageMaker's own shapes. Pure; where things lie in S3 is decided here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from driftsonde.core.config import Compute, Range, Recipe, Script, Tune
from driftsonde.core.names import digest

INPUT, OUTPUT = "/opt/ml/processing/input", "/opt/ml/processing/output"
Request = dict[str, Any]

_DEFAULTS: Final = {"objective": "binary:logistic", "eval_metric": "auc", "num_round": "100"}
_OBJECTIVE: Final = {"max": "Maximize", "min": "Minimize"}
_SCALE: Final = {"auto": "Auto", "linear": "Linear", "log": "Logarithmic", "reverse_log": "ReverseLogarithmic"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a plan's artefacts lie: everything under `<recipe.output>/<monitor>/episode-<n>/`."""

    base: str

    @classmethod
    def of(cls, recipe: Recipe, monitor: str, episode: int) -> Layout:
        """Return the layout of an episode."""
        return cls(f"{recipe.output.rstrip('/')}/{monitor}/episode-{episode}")

    def manifest(self, attempt: int) -> str:
        """What is trained on: drops with their versions, columns, the champion's encoding."""
        return f"{self.base}/manifest-{attempt}/job.json"

    @property
    def checkpoints(self) -> str:
        """Where a training on spot instances keeps its checkpoints."""
        return f"{self.base}/checkpoints"

    def prepared(self, attempt: int, part: str = "") -> str:
        """What the prepare step wrote: train, validation, holdout, score, meta."""
        return f"{self.base}/prepared-{attempt}/{part}".rstrip("/")

    @property
    def models(self) -> str:
        """Where SageMaker puts `<job>/output/model.tar.gz`."""
        return f"{self.base}/models"

    def metrics(self, attempt: int) -> str:
        """What the evaluate step wrote."""
        return f"{self.base}/evaluated-{attempt}"

    @property
    def predictions(self) -> str:
        """What the batch transform wrote."""
        return f"{self.base}/predictions"


def identity_tags(identity: Sequence[object], request: Mapping[str, Any], more: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """Return the tags by which a job that exists already is recognised as ours: who it is for, and what was asked; and the user's."""
    return [
        *({"Key": key, "Value": value} for key, value in sorted((more or {}).items())),
        {"Key": "driftsonde:identity", "Value": "/".join(str(part) for part in identity)[:256]},
        {"Key": "driftsonde:request", "Value": digest(json.dumps(request, sort_keys=True))},
    ]


def prepare(recipe: Recipe, layout: Layout, name: str, attempt: int) -> Request:
    """Drops into label-first CSVs, a holdout, and a score file without label."""
    inputs = [_input("manifest", layout.manifest(attempt))]
    outputs = [_output(part, layout.prepared(attempt, part)) for part in ("train", "validation", "holdout", "score", "meta")]
    return _processing(recipe, name, recipe.steps.prepare, inputs, outputs)


def train(recipe: Recipe, layout: Layout, name: str, image: str, prepared: int) -> Request:
    """The training job, under the container contract of SageMaker's built-in XGBoost."""
    training, seconds = recipe.training, int(recipe.training.compute.max_runtime.total_seconds())
    algorithm: Request = {"TrainingImage": image, "TrainingInputMode": "File"}
    if training.command:
        algorithm["ContainerEntrypoint"] = list(training.command)
    request: Request = {
        "TrainingJobName": name,
        "RoleArn": recipe.role,
        "AlgorithmSpecification": algorithm,
        "HyperParameters": {**(_script_mode(training.script) if training.script else _DEFAULTS), **training.hyperparameters},
        "InputDataConfig": [
            *(_channel(part, layout.prepared(prepared, part) + "/", "text/csv") for part in ("train", "validation")),
            *(_channel(part, uri) for part, uri in sorted(training.channels.items())),
        ],
        "OutputDataConfig": {"S3OutputPath": layout.models, **_key("KmsKeyId", recipe.security.output_key)},
        "ResourceConfig": {
            **_resources(training.compute),
            "VolumeSizeInGB": training.compute.volume_gb,
            **_key("VolumeKmsKeyId", recipe.security.volume_key),
            **_key("KeepAlivePeriodInSeconds", training.keep_warm and int(training.keep_warm.total_seconds())),
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
        **_network(recipe),
        **_key("EnableNetworkIsolation", recipe.security.isolated),
        **_key("EnableInterContainerTrafficEncryption", recipe.security.encrypt_traffic),
    }
    if training.spot is not None:
        request["EnableManagedSpotTraining"] = True
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = int(training.spot.total_seconds())
        request["CheckpointConfig"] = {"S3Uri": f"{layout.checkpoints}/{name}"}
    return request


def tune(recipe: Recipe, tuning: Tune, layout: Layout, name: str, image: str, prepared: int) -> Request:
    """The tuning job: a search among training jobs, each of which is as `train` would ask for it."""
    definition = train(recipe, layout, name, image, prepared)
    del definition["TrainingJobName"]
    definition.pop("CheckpointConfig", None)  # one place for all of them: they would go on from each other's checkpoints
    fixed = definition.pop("HyperParameters")
    of, _, metric = tuning.metric.partition(":")
    if of == "validation" and recipe.training.script is None and "eval_metric" not in recipe.training.hyperparameters:
        fixed["eval_metric"] = metric  # else XGBoost would not report what is compared
    definition["StaticHyperParameters"] = {key: value for key, value in fixed.items() if key not in tuning.ranges}
    if tuning.regex is not None:
        definition["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": tuning.metric, "Regex": tuning.regex}]
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": tuning.strategy,
            "HyperParameterTuningJobObjective": {"Type": _OBJECTIVE[tuning.direction], "MetricName": tuning.metric},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": tuning.jobs, "MaxParallelTrainingJobs": tuning.parallel},
            "ParameterRanges": _ranges(tuning),
            "TrainingJobEarlyStoppingType": "Off",
        },
        "TrainingJobDefinition": definition,
    }


def evaluate(recipe: Recipe, layout: Layout, name: str, attempt: int, prepared: int, challenger: str, champion: str | None) -> Request:
    """Champion and challenger on the same held-out rows."""
    inputs = [_input(part, layout.prepared(prepared, part)) for part in ("holdout", "meta")] + [_input("challenger", challenger)]
    if champion is not None:
        inputs.append(_input("champion", champion))
    request = _processing(recipe, name, recipe.steps.evaluate, inputs, [_output("metrics", layout.metrics(attempt))])
    request["Environment"] = {
        **request.get("Environment", {}),
        "DRIFTSONDE_METRIC": recipe.gate.metric,
        "DRIFTSONDE_CONFIDENCE": str(recipe.gate.confidence),
    }
    return request


def create_model(recipe: Recipe, name: str, image: str, data: str) -> Request:
    """The model that the transform runs."""
    container = {"Image": image, "ModelDataUrl": data}
    isolated = _key("EnableNetworkIsolation", recipe.security.isolated)
    return {"ModelName": name, "ExecutionRoleArn": recipe.role, "PrimaryContainer": container, **_network(recipe), **isolated}


def model_package(group: str, token: str, image: str, data: str, metadata: Mapping[str, str], metrics: str) -> Request:
    """The approved version in the registry, with its lineage."""
    return {
        "ModelPackageGroupName": group,
        "ClientToken": token,
        "ModelApprovalStatus": "Approved",
        "InferenceSpecification": {
            "Containers": [{"Image": image, "ModelDataUrl": data}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": metrics}}},
        "CustomerMetadataProperties": dict(metadata),
    }


def transform(recipe: Recipe, layout: Layout, name: str, model: str, prepared: int) -> Request:
    """Predictions for the newest drops; the columns that are kept stand in front of each."""
    compute, kept = recipe.batch.compute, len(recipe.batch.keep)
    request: Request = {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": layout.prepared(prepared, "score") + "/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": layout.predictions, "AssembleWith": "Line", "Accept": "text/csv", **_key("KmsKeyId", recipe.security.output_key),
        },
        "TransformResources": {**_resources(compute), **_key("VolumeKmsKeyId", recipe.security.volume_key)},
    }  # fmt: skip
    if kept:
        ids = ",".join(str(place) for place in (*range(kept), -1))
        request["DataProcessing"] = {"InputFilter": f"$[{kept}:]", "JoinSource": "Input", "OutputFilter": f"$[{ids}]"}
    return request


def _processing(recipe: Recipe, name: str, command: Sequence[str], inputs: list[Request], outputs: list[Request]) -> Request:
    steps = recipe.steps
    request: Request = {
        "ProcessingJobName": name,
        "RoleArn": recipe.role,
        "AppSpecification": {"ImageUri": steps.image, "ContainerEntrypoint": list(command)},
        "ProcessingInputs": inputs,
        "ProcessingOutputConfig": {"Outputs": outputs, **_key("KmsKeyId", recipe.security.output_key)},
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1, "InstanceType": steps.compute.instance_type, "VolumeSizeInGB": steps.compute.volume_gb,
                **_key("VolumeKmsKeyId", recipe.security.volume_key),
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": int(steps.compute.max_runtime.total_seconds())},
    }  # fmt: skip
    if steps.environment:
        request["Environment"] = dict(steps.environment)
    # Processing has no isolation here: driftsonde's own steps read S3 themselves.
    if recipe.security.network is not None or recipe.security.encrypt_traffic:
        request["NetworkConfig"] = {
            **_network(recipe), **_key("EnableInterContainerTrafficEncryption", recipe.security.encrypt_traffic),
        }  # fmt: skip
    return request


def _script_mode(script: Script) -> Request:
    """Return the hyperparameters by which SageMaker's training toolkit finds a script; it reads JSON, as the SDK writes it."""
    return {"sagemaker_program": json.dumps(script.entry), "sagemaker_submit_directory": json.dumps(script.source)}


def _ranges(tuning: Tune) -> Request:
    found: Request = {"ContinuousParameterRanges": [], "IntegerParameterRanges": [], "CategoricalParameterRanges": []}
    for name, values in sorted(tuning.ranges.items()):
        if isinstance(values, Range):
            number = int if values.type == "integer" else float
            low, high = (str(number(value)) for value in (values.min, values.max))
            span = {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": _SCALE[values.scale]}
            found[f"{values.type.title()}ParameterRanges"].append(span)
        else:
            found["CategoricalParameterRanges"].append({"Name": name, "Values": list(values)})
    return {kind: ranges for kind, ranges in found.items() if ranges}


def _input(name: str, uri: str) -> Request:
    return {
        "InputName": name,
        "S3Input": {"S3Uri": uri, "LocalPath": f"{INPUT}/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"},
    }


def _output(name: str, uri: str) -> Request:
    return {"OutputName": name, "S3Output": {"S3Uri": uri, "LocalPath": f"{OUTPUT}/{name}", "S3UploadMode": "EndOfJob"}}


def _channel(name: str, uri: str, content: str | None = None) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, **_key("ContentType", content), "DataSource": {"S3DataSource": source}}


def _resources(compute: Compute) -> Request:
    return {"InstanceType": compute.instance_type, "InstanceCount": compute.instance_count}


def _network(recipe: Recipe) -> Request:
    network = recipe.security.network
    return {"VpcConfig": {"Subnets": list(network.subnets), "SecurityGroupIds": list(network.security_groups)}} if network else {}


def _key(name: str, value: object) -> Request:
    """Return one key of a request, or none: an absent key and a false or empty one are not the same to SageMaker."""
    return {name: value} if value else {}
