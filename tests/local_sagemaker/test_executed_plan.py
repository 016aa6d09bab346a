"""A plan that starts what people have, from drift to done: the retrainer's own code, local SageMaker, and the emulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.aws.objects import S3Objects
from driftsonde.core.config import parse_config
from driftsonde.core.errors import RetryableError
from driftsonde.core.events import BaselineRef, DriftDetected, DropRef, Event, TrainingSucceeded, WindowRef, parse_event
from driftsonde.core.lifecycle import SystemClock
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.core.testing.endpoints import FakeEndpoints
from driftsonde.core.testing.jobs import FakeTrainingJobs
from driftsonde.retrainer import store
from driftsonde.retrainer.executions import PipelineExecutions, StateMachineExecutions
from driftsonde.retrainer.handlers import Handlers
from driftsonde.retrainer.metrics import RetrainerMetrics
from driftsonde.retrainer.plans import Plans
from driftsonde.retrainer.watcher import Watcher

from .support import Plane, client
from .test_pipelines import machine, made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The retrainer's store."""
    database = Database(f"sqlite:///{tmp_path / 'retrainer.sqlite'}")
    database.create_all(store.metadata)
    yield database
    database.close()


async def finished(database: Database, s3: Any, bucket: str, run: dict[str, Any], executions: dict[str, Any]) -> TrainingSucceeded:
    """Hear of a drift and go round until the plan is done; return what was said of its end."""
    monitor = {"name": "churn", "drops": f"s3://{bucket}/in/", "baseline": f"s3://{bucket}/base/", "retrain": {"recipe": "own"}}
    recipes = {"own": {"output": f"s3://{bucket}/out", "run": run}}
    clock, metrics = SystemClock(), RetrainerMetrics()
    outbox = Outbox(database, store.outbox, store.inbox, clock)
    plans = Plans(
        database, outbox, parse_config({"monitors": [monitor], "recipes": recipes}, source="test"), clock, metrics, "test", bucket
    )
    jobs = FakeTrainingJobs()
    watcher = Watcher(
        database, plans, jobs, FakeEndpoints(jobs), S3Objects(s3), clock, metrics, image=lambda: "none", executions=executions
    )  # fmt: skip
    drift = DriftDetected(
        monitor="churn", episode=1, window=WindowRef(id="w", rows=300), baseline=BaselineRef(version=1, digest="b", rows=300),
        summary="x moved", columns=("x",), checks=(), drops=(DropRef(bucket=bucket, key="in/a.csv", etag="e", rows=300),), trainable=True,
    )  # fmt: skip
    await Handlers(database, outbox, clock, lambda: None).handle(Event.of(drift, time=clock.now()))
    async with asyncio.timeout(12):
        while True:
            try:
                await watcher.round()
            except RetryableError:
                continue  # as the watcher's own loop does
            with database.read() as connection:
                facts = [parse_event(row.body.encode()).data for row in connection.execute(store.outbox.select())]
            if found := [fact for fact in facts if isinstance(fact, TrainingSucceeded)]:
                return found[0]
            await asyncio.sleep(0.05)


async def test_plan_runs_a_pipeline_once_although_the_answer_was_lost(
    plane: Plane, sagemaker: Any, s3: Any, bucket: str, database: Database
) -> None:
    name = await made(sagemaker, "import sys; print(sys.argv[1])")
    plane.fault(op="StartPipelineExecution", code="ConnectionDrop", after=True)
    run = {"pipeline": name, "parameters": {"Manifest": "{manifest}"}}
    said = await finished(database, s3, bucket, run, {"pipeline": PipelineExecutions(sagemaker)})
    (home,) = (plane.root / "pipelines" / name).iterdir()
    manifest = f"{bucket}/out/churn/episode-1/manifest-1/job.json"
    assert (home / "log.txt").read_text() == f"s3://{manifest}\n"
    body = await (await s3.get_object(Bucket=bucket, Key=manifest.partition("/")[2]))["Body"].read()
    assert [drop["key"] for drop in json.loads(body)["drops"]] == ["in/a.csv"]
    assert said.seconds is not None
    assert said.job.startswith("ds-churn-execute-")


async def test_plan_runs_a_state_machine_that_is_told_of_the_manifest(s3: Any, bucket: str, database: Database) -> None:
    async with client("stepfunctions") as states:
        arn = await machine(states, "Pass", End=True)
        said = await finished(database, s3, bucket, {"state_machine": arn}, {"state-machine": StateMachineExecutions(states)})
        (execution,) = (await states.list_executions(stateMachineArn=arn))["executions"]
        told = json.loads((await states.describe_execution(executionArn=execution["executionArn"]))["input"])
    assert execution["name"] == said.job
    assert told["manifest"] == f"s3://{bucket}/out/churn/episode-1/manifest-1/job.json"
    assert (told["monitor"], told["episode"], told["deployment"]) == ("churn", 1, "test")
