"""Training jobs: which program, its channels and hyperparameters, and what becomes of the model."""

from __future__ import annotations

import json
import math
import re
import sys
from itertools import chain
from typing import Any

from driftsonde.core.local.sagemaker.container import XGBOOST, Job, command, no_engine, resource_config
from driftsonde.core.local.sagemaker.kinds import Json, is_xgboost
from driftsonde.core.local.sagemaker.rules import DAY

_BUILT_IN_METRIC = re.compile(r"#011((?:train|validation)-[^\s:#]+):([-+]?(?:[0-9]*\.)?[0-9]+(?:[eE][-+]?[0-9]+)?)")


async def run(job: Job) -> Json:
    """Do the job; return the fields that join its description."""
    async with job.phase("Downloading"):
        await _download(job)
    async with job.phase("Training"):
        stopping = job.body.get("StoppingCondition", {})
        argv, extra = await _program(job)
        await job.run(argv, job.environment({**_variables(job), **extra}), stopping.get("MaxRuntimeInSeconds", DAY))
    async with job.phase("Uploading"):
        artifacts = await upload(job)
    return {**artifacts, "FinalMetricDataList": _metrics(job)}


async def upload(job: Job) -> Json:
    """Store the model and further output, as far as there are any; also what a stopped job managed to save."""
    target = f"{job.body['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output"
    if any((job.base / "output" / "data").iterdir()):
        await job.objects.store_tar(job.base / "output" / "data", f"{target}/output.tar.gz")
    if not any((job.base / "model").iterdir()):
        return {}
    await job.objects.store_tar(job.base / "model", f"{target}/model.tar.gz")
    return {"ModelArtifacts": {"S3ModelArtifacts": f"{target}/model.tar.gz"}}


async def _download(job: Job) -> None:
    config = {}
    for channel in job.body.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        await job.objects.fetch(source["S3Uri"], job.base / "input" / "data" / channel["ChannelName"], source["S3DataType"])
        config[channel["ChannelName"]] = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
    job.write("input/config/hyperparameters.json", job.body.get("HyperParameters", {}))
    job.write("input/config/inputdataconfig.json", config)
    job.write("input/config/resourceconfig.json", resource_config())


async def _program(job: Job) -> tuple[list[str], dict[str, str]]:
    """Return the command and the variables that only it needs: own command, script mode or built-in algorithm."""
    algorithm = job.body["AlgorithmSpecification"]
    settings = {key: _decoded(value) for key, value in job.body.get("HyperParameters", {}).items()}
    if "ContainerEntrypoint" in algorithm:
        return command(algorithm["ContainerEntrypoint"], algorithm.get("ContainerArguments", [])), {}
    if {"sagemaker_program", "sagemaker_submit_directory"} <= settings.keys():
        code = job.base / "code"
        await job.objects.fetch_tar(str(settings["sagemaker_submit_directory"]), code)
        program, arguments = str(settings["sagemaker_program"]), _arguments(settings)
        variables = {"SM_MODULE_DIR": str(code), "SM_USER_ENTRY_POINT": program, "SM_USER_ARGS": json.dumps(arguments)}
        return [sys.executable, str(code / program), *arguments], variables
    if is_xgboost(algorithm["TrainingImage"]):
        return [sys.executable, "-m", XGBOOST, "train"], {}
    raise no_engine(
        algorithm["TrainingImage"],
        "Give AlgorithmSpecification.ContainerEntrypoint a command of this machine, set the hyperparameters sagemaker_program and "
        "sagemaker_submit_directory (script mode), or use the built-in XGBoost image.",
    )


def _decoded(value: str) -> Any:
    """Decode a hyperparameter as the training toolkit does: JSON where it is JSON, else the text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _arguments(settings: Json) -> list[str]:
    """Return `--key value` for each hyperparameter of the user, as the training toolkit does."""
    user = sorted((key, value) for key, value in settings.items() if not key.startswith("sagemaker_"))
    return list(chain.from_iterable((f"--{key}" if len(key) > 1 else f"-{key}", _text(value)) for key, value in user))


def _text(value: Any) -> str:
    return ",".join(f"{key}={item}" for key, item in sorted(value.items())) if isinstance(value, dict) else str(value)


def _variables(job: Job) -> dict[str, str]:
    channels = sorted(channel["ChannelName"] for channel in job.body.get("InputDataConfig", []))
    settings = {key: _decoded(value) for key, value in job.body.get("HyperParameters", {}).items() if not key.startswith("sagemaker_")}
    return {
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": job.arn,
        "SM_CHANNELS": json.dumps(channels),
        "SM_HPS": json.dumps(settings),
        **{f"SM_CHANNEL_{name.upper()}": str(job.base / "input" / "data" / name) for name in channels},
        **{f"SM_HP_{key.upper().replace('-', '_')}": _text(value) for key, value in settings.items()},
    }


def _metrics(job: Job) -> list[Json]:
    """Return the last value of each metric in the log, by the request's regular expressions or the algorithm's own."""
    path = job.home / "log.txt"
    log = path.read_text(errors="replace") if path.is_file() else ""
    values: dict[str, str] = {}
    definitions = job.body["AlgorithmSpecification"].get("MetricDefinitions", [])
    for definition in definitions:
        for found in re.finditer(definition["Regex"], log):
            values[definition["Name"]] = found[1] if found.re.groups else found[0]
    if not definitions:
        for name, value in _BUILT_IN_METRIC.findall(log):
            values[name.replace("-", ":", 1)] = value
    modified = path.stat().st_mtime if path.is_file() else 0.0
    return [{"MetricName": name, "Value": float(value), "Timestamp": modified} for name, value in values.items() if _finite(value)]


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
