"""What the tests of local SageMaker share: clients, the control plane's process, requests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from aiobotocore.config import AioConfig  # type: ignore[import-untyped,unused-ignore]  # ships no types
from aiobotocore.session import get_session  # type: ignore[import-untyped,unused-ignore]  # ships no types

from driftsonde.core.local.sagemaker.algorithms.xgboost import library

ROLE = "arn:aws:iam::000000000000:role/driftsonde-jobs"
XGBOOST = "246618743249.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
OTHER_IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/anything:1"
PROGRAMS = tempfile.TemporaryDirectory(prefix="driftsonde-programs-")  # removed at exit
SESSION = get_session()  # one for all: it keeps the service models it has parsed
HTTP = httpx.Client(trust_env=False)  # one for all: each would make an SSL context
ENDED = {"Completed", "Failed", "Stopped"}


def credentials(emulator: str) -> dict[str, str]:
    """Return the environment by which users reach the emulator."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return {"AWS_ENDPOINT_URL": emulator, "AWS_DEFAULT_REGION": "us-east-1", **keys}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_http(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until `url` answers."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with contextlib.suppress(httpx.TransportError):
            HTTP.get(url, timeout=1.0)
            return
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer")


@contextlib.asynccontextmanager
async def client(service: str, endpoint: str | None = None) -> AsyncIterator[Any]:
    """A client that tries once, so that tests see every answer."""
    config = AioConfig(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    async with SESSION.create_client(service, endpoint_url=endpoint, config=config) as opened:
        yield opened


class Plane:
    """A control plane process that can be killed and started again on the same root."""

    def __init__(self, root: Path, emulator: str, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.root = root
        self.emulator = emulator
        self._options = options
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it and wait until it answers."""
        argv = [sys.executable, "-m", "driftsonde.core.local.sagemaker", "--root", str(self.root), "--port", str(self.port)]
        argv += ["--min-state-seconds", "0.05", "--grace-seconds", "1", *self._options]
        # Cached bytecode halves the time to start, whatever the shell of the tests says.
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        with self.root.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(argv, env={**env, **credentials(self.emulator)}, stderr=log)
        wait_http(f"{self.url}/_local/health", self.process)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=15)

    def jobs(self) -> dict[str, str]:
        """Return the status of every job by name, as the outside sees it."""
        return {job["name"]: job["status"] for job in HTTP.get(f"{self.url}/_local/jobs").json()}

    def fault(self, **fault: Any) -> None:
        """Script one fault."""
        HTTP.post(f"{self.url}/_local/faults", json=[fault]).raise_for_status()

    def calls(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Return invocations and errors by fleet (`current`, `new`) and variant, of every endpoint."""
        listed = HTTP.get(f"{self.url}/_local/endpoints").json()
        return {(item["fleet"], item["variant"]): (item["invocations"], item["errors"]) for item in listed}

    def log(self, kind: str, name: str) -> str:
        """Return what a job's program printed."""
        return (self.root / "jobs" / kind / name / "log.txt").read_text()


async def until(ready: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """Poll until `ready()` is true; return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := ready():
            return value
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in time")


async def ended(plane: Plane, name: str) -> str:
    """Wait for a job's end; return its status."""
    await until(lambda: plane.jobs().get(name) in ENDED)
    return plane.jobs()[name]


def training(name: str, bucket: str, **changes: Any) -> dict[str, Any]:
    """Return a request for a training job of the built-in algorithm."""
    request = {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": XGBOOST, "TrainingInputMode": "File"},
        "HyperParameters": {"num_round": "20", "objective": "binary:logistic", "eval_metric": "auc", "max_depth": "3"},
        "InputDataConfig": [channel(bucket, "train"), channel(bucket, "validation")],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    return {**request, **changes}


def channel(bucket: str, name: str) -> dict[str, Any]:
    """Return a CSV channel at `s3://bucket/<name>/`."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}/"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": "text/csv"}


def program(code: str) -> str:
    """Store Python code in a file and return its path: an argument is at most 256 characters on one line."""
    path = Path(tempfile.mkdtemp(dir=PROGRAMS.name)) / "program.py"
    path.write_text(code)
    return str(path)


def own_command(name: str, bucket: str, code: str, **changes: Any) -> dict[str, Any]:
    """Return a request for a training job that runs Python code and reads no channel."""
    algorithm = {
        "TrainingImage": OTHER_IMAGE, "TrainingInputMode": "File", "ContainerEntrypoint": ["python", program(code)],
    }  # fmt: skip
    request = training(name, bucket, AlgorithmSpecification=algorithm, **changes)
    return {key: value for key, value in request.items() if key not in ("InputDataConfig", "HyperParameters")}


def processing(name: str, bucket: str, code: str, **changes: Any) -> dict[str, Any]:
    """Return a request for a processing job that runs Python code with one input and one output."""
    source = {"S3Uri": f"s3://{bucket}/raw", "LocalPath": "/opt/ml/processing/input/raw", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    target = {"S3Uri": f"s3://{bucket}/prepared", "LocalPath": "/opt/ml/processing/output/prepared", "S3UploadMode": "EndOfJob"}
    request = {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": OTHER_IMAGE, "ContainerEntrypoint": ["python3", program(code)]},
        "ProcessingInputs": [{"InputName": "raw", "S3Input": source}],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "prepared", "S3Output": target}]},
        "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}},
    }
    return {**request, **changes}


async def objects(s3: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """Return every object under a prefix."""
    listing = await s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    found = {}
    for item in listing.get("Contents", []):
        answer = await s3.get_object(Bucket=bucket, Key=item["Key"])
        found[item["Key"]] = await answer["Body"].read()
    return found


async def messages(sqs: Any, url: str) -> list[Any]:
    """Take and return what a queue holds, parsed."""
    answer = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    for message in answer.get("Messages", []):
        await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def model_archive(constant: float, features: int = 3) -> bytes:
    """Return a model.tar.gz of the built-in algorithm that answers (almost) `constant` to rows of so many features."""
    xgboost = library()
    rows = np.random.default_rng(1).normal(size=(20, features))
    table = xgboost.DMatrix(rows, label=np.full(20, constant))
    model = xgboost.train({"base_score": constant, "objective": "reg:squarederror", "nthread": 1}, table, 1)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        raw = bytes(model.save_raw("ubj"))
        member = tarfile.TarInfo("xgboost-model")
        member.size = len(raw)
        tar.addfile(member, io.BytesIO(raw))
    return packed.getvalue()


def variant(name: str, model: str, **changes: Any) -> dict[str, Any]:
    """Return a production variant on one instance."""
    return {"VariantName": name, "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large", **changes}


def blue_green(kind: str, *, wait: int = 0, keep: int = 0, alarms: tuple[str, ...] = ("errors",), **size: Any) -> dict[str, Any]:
    """Return a DeploymentConfig; `size` is its CanarySize or LinearStepSize in percent."""
    steps = {field: {"Type": "CAPACITY_PERCENT", "Value": value} for field, value in size.items()}
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **steps}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": keep, "MaximumExecutionTimeoutInSeconds": 28_800}
    return {"BlueGreenUpdatePolicy": policy, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
