"""Pipelines and state machines that really run: the control plane's rules, and the retrainer's way to both."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from driftsonde.core.errors import ConfigError, QuotaReached, RetryableError
from driftsonde.core.ports import Executions, JobStatus
from driftsonde.retrainer.executions import PipelineExecutions, StateMachineExecutions

from .support import ROLE, Plane, client, program

TOKEN = "t" * 32


def definition(code: str) -> str:
    """Return a pipeline definition that runs Python code, with the parameter `Manifest` as argument."""
    app = {"ContainerEntrypoint": ["python", program(code)], "ContainerArguments": [{"Get": "Parameters.Manifest"}]}
    step = {"Name": "train", "Type": "Processing", "Arguments": {"AppSpecification": {"ImageUri": "any", **app}}}
    parameters = [{"Name": "Manifest", "Type": "String"}, {"Name": "Rounds", "Type": "String", "DefaultValue": "10"}]
    return json.dumps({"Version": "2020-12-01", "Parameters": parameters, "Steps": [step]})


async def made(sagemaker: Any, code: str) -> str:
    """Create a pipeline of this test alone; return its name."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    await sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=definition(code), ClientRequestToken=TOKEN, RoleArn=ROLE)
    return name


def request(name: str, manifest: str = "s3://a/job.json", token: str = TOKEN) -> dict[str, Any]:
    """Return a start, as the retrainer asks for it."""
    parameters = [{"Name": "Manifest", "Value": manifest}]
    return {
        "PipelineName": name, "PipelineExecutionDisplayName": "ds-a-1", "ClientRequestToken": token, "PipelineParameters": parameters,
    }  # fmt: skip


async def ended(executions: Executions, execution: str) -> JobStatus:
    """Wait for an execution's end."""
    async with asyncio.timeout(10):
        while (status := await executions.status(execution)).state in ("running", "pending"):
            await asyncio.sleep(0.05)
    return status


@pytest.fixture
def pipelines(sagemaker: Any) -> PipelineExecutions:
    return PipelineExecutions(sagemaker)


async def test_pipeline_runs_its_command_once_for_a_token(pipelines: Any, sagemaker: Any, plane: Plane) -> None:
    name = await made(sagemaker, "import sys; print('trained on', sys.argv[1])")
    executions = {await pipelines.start(request(name)) for _ in range(3)}
    (execution,) = executions
    status = await ended(pipelines, execution)
    assert (status.state, status.detail) == ("succeeded", "")
    assert status.seconds is not None
    log = plane.root / "pipelines" / name / execution.rpartition("/")[2] / "log.txt"
    assert log.read_text() == "trained on s3://a/job.json\n"


async def test_lost_answer_of_a_start_is_found_again(pipelines: Any, sagemaker: Any, plane: Plane) -> None:
    name = await made(sagemaker, "")
    plane.fault(op="StartPipelineExecution", code="ConnectionDrop", after=True)
    with pytest.raises(RetryableError):
        await pipelines.start(request(name))
    await ended(pipelines, await pipelines.start(request(name)))
    assert len(list((plane.root / "pipelines" / name).iterdir())) == 1


async def test_failed_pipeline_tells_what_it_printed(pipelines: Any, sagemaker: Any) -> None:
    name = await made(sagemaker, "raise SystemExit('no space left')")
    status = await ended(pipelines, await pipelines.start(request(name)))
    assert status.state == "failed"
    assert "no space left" in status.detail


async def test_stopped_pipeline_ends_and_may_be_stopped_again(pipelines: Any, sagemaker: Any) -> None:
    name = await made(sagemaker, "import time; time.sleep(60)")
    execution = await pipelines.start(request(name))
    for _ in range(2):
        await pipelines.stop(execution, "too long")
    assert (await ended(pipelines, execution)).state == "stopped"
    await pipelines.stop(execution, "too long")
    await pipelines.stop(f"{execution}0", "nobody")
    assert (await pipelines.status(f"{execution}0")).state == "unknown"


async def test_wrong_starts_are_mistakes_and_full_accounts_are_not(pipelines: Any, sagemaker: Any, plane: Plane) -> None:
    name = await made(sagemaker, "")
    with pytest.raises(ConfigError, match="no-such"):
        await pipelines.start(request("no-such"))
    with pytest.raises(ConfigError, match="Manifest"):
        await pipelines.start({**request(name), "PipelineParameters": []})
    await pipelines.start(request(name))
    with pytest.raises(RetryableError, match="Conflict"):
        await pipelines.start(request(name, "s3://a/other.json"))
    plane.fault(op="StartPipelineExecution", code="ResourceLimitExceeded")
    with pytest.raises(QuotaReached):
        await pipelines.start(request(name, token="u" * 32))


@pytest.mark.parametrize("wrong", ["{", "{}", '{"Steps": []}', '{"Steps": [{"Type": "Training", "Arguments": {}}]}'])
async def test_definition_that_cannot_be_run_is_refused(sagemaker: Any, wrong: str) -> None:
    with pytest.raises(ClientError, match="exactly one step"):
        await sagemaker.create_pipeline(PipelineName="wrong", PipelineDefinition=wrong, ClientRequestToken=TOKEN, RoleArn=ROLE)


async def test_execution_goes_on_after_the_control_plane_was_killed(aws: str, start_plane: Callable[..., Plane]) -> None:
    plane = start_plane()
    async with client("sagemaker", plane.url) as sagemaker:
        execution = await PipelineExecutions(sagemaker).start(request(await made(sagemaker, "import time; time.sleep(0.5)")))
    plane.kill()
    plane.start()
    async with client("sagemaker", plane.url) as sagemaker:
        assert (await ended(PipelineExecutions(sagemaker), execution)).state == "succeeded"


@pytest.fixture
async def states(aws: str) -> AsyncIterator[Any]:
    """Step Functions of the emulator."""
    async with client("stepfunctions") as opened:
        yield opened


async def machine(states: Any, kind: str, **state: Any) -> str:
    """Create a state machine of one state; return its ARN."""
    body = json.dumps({"StartAt": "only", "States": {"only": {"Type": kind, **state}}})
    name = f"m-{uuid.uuid4().hex[:8]}"
    return str((await states.create_state_machine(name=name, definition=body, roleArn=ROLE))["stateMachineArn"])


async def test_state_machine_runs_once_and_is_adopted_by_its_input(states: Any) -> None:
    executions, arn = StateMachineExecutions(states), await machine(states, "Pass", End=True)
    start = {"stateMachineArn": arn, "name": "ds-a-1", "input": '{"a": 1, "b": 2}'}
    execution = await executions.start(start)
    assert (await ended(executions, execution)).state == "succeeded"
    assert await executions.start({**start, "input": '{"b": 2, "a": 1}'}) == execution
    with pytest.raises(ConfigError, match="another input"):
        await executions.start({**start, "input": "{}"})
    assert len((await states.list_executions(stateMachineArn=arn))["executions"]) == 1


async def test_failed_state_machine_tells_error_and_cause(states: Any) -> None:
    executions, arn = StateMachineExecutions(states), await machine(states, "Fail", Error="Training.Diverged", Cause="loss is nan")
    status = await ended(executions, await executions.start({"stateMachineArn": arn, "name": "ds-a-1", "input": "{}"}))
    assert (status.state, status.detail) == ("failed", "Training.Diverged: loss is nan")


async def test_stopped_state_machine_keeps_the_reason(states: Any) -> None:
    executions, arn = StateMachineExecutions(states), await machine(states, "Wait", Seconds=600, End=True)
    execution = await executions.start({"stateMachineArn": arn, "name": "ds-a-1", "input": "{}"})
    for _ in range(2):
        await executions.stop(execution, "it took longer than 6:00:00")
    status = await executions.status(execution)
    assert (status.state, status.detail) == ("stopped", "Driftsonde.Timeout: it took longer than 6:00:00")
    assert status.seconds is not None
    assert (await executions.status(f"{execution}0")).state == "unknown"


async def test_state_machine_that_is_not_there_is_a_mistake(states: Any) -> None:
    arn = "arn:aws:states:us-east-1:000000000000:stateMachine:nobody"
    with pytest.raises(ConfigError, match="nobody"):
        await StateMachineExecutions(states).start({"stateMachineArn": arn, "name": "ds-a-1", "input": "{}"})
