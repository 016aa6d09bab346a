"""What a run of a minute does not reach, asked of the adapters themselves, through the same gates.

Jobs that are found to exist, that must be stopped, searches, pipelines, state machines, a weighed and an updated endpoint, leases
that are given back. The requests are those that the services make; what comes of them is tested elsewhere (tests/local_sagemaker, tests/e2e).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.aws.queue import SqsQueue
from driftsonde.core.config import parse_config
from driftsonde.core.errors import DriftsondeError
from driftsonde.retrainer import requests, tuning
from driftsonde.retrainer.executions import PipelineExecutions, StateMachineExecutions
from driftsonde.retrainer.requests import Layout
from driftsonde.retrainer.sagemaker import SageMaker, SageMakerEndpoints

from .conftest import ENDPOINT, IMAGE, MACHINE, NEW, OLD, PIPELINE, Run
from .recorder import Gate
from .support import ACCOUNT, REGION

_VARIANT = {"VariantName": "AllTraffic", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}


@asynccontextmanager
async def client(service: str, url: str) -> AsyncIterator[Any]:
    """A client that tries once."""
    config = AioConfig(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "test", "region_name": REGION}
    async with get_session().create_client(service, endpoint_url=url, config=config, **keys) as opened:
        yield opened


async def drive(run: Run) -> None:
    """Ask the rest."""
    for service, gate in run.gates.items():
        async with client("sqs", gate.url) as sqs:
            names = [f"bus-{service}.fifo"] + (["intake"] if service == "detector" else [])
            for name in names:
                await _give_back(run, SqsQueue(sqs, _url(run, name), dead_letters=_url(run, "bus-dead-letters.fifo")))
    async with client("s3", run.gates["detector"].url) as s3:  # the emulator's EventBridge does not tell versions
        listed = run.stack.client("s3").list_object_versions(Bucket=OLD, Prefix="churn/in/0.parquet")["Versions"]
        await S3Objects(s3).open(OLD, listed[0]["Key"], version=listed[0]["VersionId"])
    async with client("s3", run.gates["retrainer"].url) as s3:
        objects = S3Objects(s3)
        for bucket, prefix in ((OLD, "churn/labels/"), (NEW, "labels/")):  # as a bandit's rewards, and labels that come later, are read
            run.stack.client("s3").put_object(Bucket=bucket, Key=f"{prefix}a.jsonl", Body=b"{}")
            async for key, info in objects.list(bucket, prefix):
                await objects.read(bucket, key, 0, info.size, etag=info.etag)
    await _drive_sagemaker(run, run.gates["retrainer"])


def _url(run: Run, name: str) -> str:
    return str(run.stack.outputs["IntakeUrl"]).replace("-intake", f"-{name}")


async def _give_back(run: Run, queue: SqsQueue) -> None:
    """Give a lease back that is none, and a letter up: a message of its own would be taken by the service."""
    with contextlib.suppress(DriftsondeError):
        await queue.change_visibility("none", 0)
    if queue.url.endswith(".fifo"):
        await queue.dead_letter("{}", "test", run.stack.name)


async def _drive_sagemaker(run: Run, gate: Gate) -> None:
    async with AsyncExitStack() as stack:
        sagemaker = await stack.enter_async_context(client("sagemaker", gate.url))
        owner = await stack.enter_async_context(client("sagemaker", run.sagemaker))  # who was there before driftsonde
        states = await stack.enter_async_context(client("stepfunctions", gate.url))
        jobs, endpoints = SageMaker(sagemaker), SageMakerEndpoints(sagemaker)
        await _create_all_twice(jobs, run)
        for kind in ("processing", "training", "tuning", "transform"):
            await jobs.stop(kind, f"ds-rest-{kind}")
        best = {"HyperParameterTuningJobName": "ds-rest-tuning", "BestTrainingJob": {"TrainingJobName": "ds-rest-training"}}
        await tuning.outcome(sagemaker, best, "succeeded")
        groups = await owner.list_model_packages(ModelPackageGroupName="ds-churn")
        await jobs.judge(groups["ModelPackageSummaryList"][0]["ModelPackageArn"], "Rejected", "test")
        name = ENDPOINT.rpartition("/")[2]
        former = await owner.describe_endpoint(EndpointName=name)
        model = (await owner.describe_endpoint_config(EndpointConfigName=former["EndpointConfigName"]))["ProductionVariants"][0][
            "ModelName"
        ]
        await owner.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=[{**_VARIANT, "ModelName": model}])
        await endpoints.config("by-hand")
        with contextlib.suppress(DriftsondeError):  # local SageMaker is not in a hurry with the update that comes before
            await endpoints.point(name, "by-hand", None, [])
            await endpoints.weigh(name, {"AllTraffic": 1.0})
        await _drive_executions(PipelineExecutions(sagemaker), {"PipelineName": PIPELINE.rpartition("/")[2], "ClientRequestToken": "t" * 32},
                                f"{PIPELINE}/execution/none")  # fmt: skip
        machine = MACHINE.replace(":stateMachine:", ":execution:") + ":none"
        await _drive_executions(StateMachineExecutions(states), {"stateMachineArn": MACHINE, "name": "none", "input": "{}"}, machine)


async def _create_all_twice(jobs: SageMaker, run: Run) -> None:
    """The second creation finds the name taken, and looks whose it is."""
    role = run.stack.outputs["JobRole"]
    ranges = {"eta": {"min": 0.1, "max": 0.3}}
    recipe = parse_config(
        {
            "monitors": [{"name": "rest", "drops": "s3://acme-ml/churn/rest/", "baseline": "s3://acme-ml/churn/base/"}],
            "recipes": {
                "xgb": {
                    "role": role,
                    "output": "s3://acme-ml/out/",
                    "training": {"image": IMAGE, "tune": {"ranges": ranges, "jobs": 1, "parallel": 1}},
                }
            },
        },
        source="test",
    ).recipes["xgb"]
    layout = Layout.of(recipe, "rest", 1)
    assert recipe.training.tune is not None
    wanted = {
        "processing": requests.prepare(recipe, layout, "ds-rest-processing", 1),
        "training": requests.train(recipe, layout, "ds-rest-training", IMAGE, 1),
        "tuning": requests.tune(recipe, recipe.training.tune, layout, "ds-rest-tuning", IMAGE, 1),
        "model": requests.create_model(recipe, "ds-rest-model", IMAGE, "s3://acme-ml/out/rest/model.tar.gz"),
        "transform": requests.transform(recipe, layout, "ds-rest-transform", "ds-rest-model", 1),
        "endpoint-config": {"EndpointConfigName": "ds-rest-config", "ProductionVariants": [{**_VARIANT, "ModelName": "ds-rest-model"}]},
    }
    for kind, request in wanted.items():
        tagged = {**request, "Tags": requests.identity_tags(("rest", kind), request)}
        for _ in range(2):
            await jobs.create(kind, tagged)


async def _drive_executions(executions: Any, request: dict[str, Any], execution: str) -> None:
    with contextlib.suppress(DriftsondeError):  # there is no such pipeline or state machine here
        await executions.start(request)
    with contextlib.suppress(DriftsondeError):
        await executions.status(execution)
    with contextlib.suppress(DriftsondeError):
        await executions.stop(execution, "test")
