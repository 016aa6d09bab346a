"""The model that is in production when the demo begins: prepared and trained on January, by SageMaker's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from driftsonde.core.aws.session import aws_client
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.local.stack import ROLE

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
STEPS_IMAGE = "driftsonde-steps"
HYPERPARAMETERS = {"objective": "binary:logistic", "eval_metric": "auc", "num_round": "60", "max_depth": "5", "eta": "0.15", "seed": "1"}
_PREPARE, _TRAIN = "flights-january-prepare", "flights-january-train"
_POLL_SECONDS = 0.3


def addresses(bucket: str) -> tuple[str, str]:
    """Return where the trained model will be, and its encoding."""
    base = _base(bucket)
    return f"{base}/models/{_TRAIN}/output/model.tar.gz", f"{base}/prepared/meta/encoding.json"


def _base(bucket: str) -> str:
    return f"s3://{bucket}/champion"


async def train_champion(bucket: str, keys: Sequence[str], label: str, ignore: Sequence[str]) -> float:
    """Train on the given drops; returns the model's AUC on validation rows."""
    base = _base(bucket)
    drops = [{"bucket": bucket, "key": key} for key in keys]
    manifest = {
        "drops": drops, "score": [], "format": "auto", "label": label, "only": [], "ignore": list(ignore), "categorical": [], "encoding": None,
    }  # fmt: skip
    async with aws_client("s3") as s3, aws_client("sagemaker") as sagemaker:
        await s3.put_object(Bucket=bucket, Key="champion/manifest/job.json", Body=json.dumps(manifest).encode())
        await sagemaker.create_processing_job(**_prepare(base))
        await _finished(sagemaker.describe_processing_job, "ProcessingJob", _PREPARE)
        await sagemaker.create_training_job(**_train(base))
        job = await _finished(sagemaker.describe_training_job, "TrainingJob", _TRAIN)
    metrics = {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == addresses(bucket)[0], "SageMaker stores a model below its job's name"
    return float(metrics["validation:auc"])


async def _finished(describe: Any, kind: str, name: str) -> dict[str, Any]:
    while True:
        answer: dict[str, Any] = await describe(**{f"{kind}Name": name})
        if answer[f"{kind}Status"] == "Completed":
            return answer
        if answer[f"{kind}Status"] in ("Failed", "Stopped"):
            raise DriftsondeError(f"{name} {answer[f'{kind}Status']}: {answer.get('FailureReason')}")
        await asyncio.sleep(_POLL_SECONDS)


def _prepare(base: str) -> dict[str, Any]:
    local = "/opt/ml/processing"
    parts = ("train", "validation", "holdout", "score", "meta")
    outputs = [
        {
            "OutputName": part,
            "S3Output": {"S3Uri": f"{base}/prepared/{part}", "LocalPath": f"{local}/output/{part}", "S3UploadMode": "EndOfJob"},
        }
        for part in parts
    ]
    return {
        "ProcessingJobName": _PREPARE,
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": STEPS_IMAGE, "ContainerEntrypoint": ["python", "-m", "driftsonde.retrainer.steps.prepare"]},
        "ProcessingInputs": [
            {
                "InputName": "manifest",
                "S3Input": {
                    "S3Uri": f"{base}/manifest/job.json", "LocalPath": f"{local}/input/manifest", "S3DataType": "S3Prefix", "S3InputMode": "File",
                },
            }
        ],
        "ProcessingOutputConfig": {"Outputs": outputs},
        "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}},
    }  # fmt: skip


def _train(base: str) -> dict[str, Any]:
    channels = [
        {
            "ChannelName": part,
            "ContentType": "text/csv",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{base}/prepared/{part}/"}},
        }
        for part in ("train", "validation")
    ]
    return {
        "TrainingJobName": _TRAIN,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": HYPERPARAMETERS,
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": f"{base}/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
