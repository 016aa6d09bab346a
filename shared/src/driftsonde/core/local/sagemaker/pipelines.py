"""Pipelines: each is one command of this machine, written as a pipeline definition of one processing step.

`{"Get": "Parameters.X"}` stands for a parameter in the command, its arguments and its environment, as in SageMaker. An
execution is started once for each token, and run again when the control plane was killed meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from driftsonde.core.local.sagemaker.account import Account
from driftsonde.core.local.sagemaker.container import MAX_REASON, command, log_tail, variables
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.process import Child, reap
from driftsonde.core.local.sagemaker.registry import Registry, Resource
from driftsonde.core.local.sagemaker.rules import AwsError, project
from driftsonde.core.local.sagemaker.settings import Settings

PIPELINE: Final = "pipeline"
EXECUTION: Final = "pipeline-execution"
_ACTIVE: Final = ("Executing", "Stopping")
_ADVICE: Final = "local SageMaker runs pipelines of exactly one step of Type Processing whose AppSpecification has a ContainerEntrypoint"


def problems(definition: str) -> Iterator[str]:
    """Yield what is wrong with a pipeline definition, or cannot be run here."""
    try:
        parsed = json.loads(definition)
        parameters = {item["Name"]: item["Type"] for item in parsed.get("Parameters", [])}
        (step,) = parsed["Steps"]
        entrypoint = step["Arguments"]["AppSpecification"]["ContainerEntrypoint"] if step["Type"] == "Processing" else None
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        yield f"PipelineDefinition: {_ADVICE} ({exc!r})"
        return
    if not entrypoint or not isinstance(entrypoint, list):
        yield f"PipelineDefinition: {_ADVICE}"
    if unknown := {_got(value) for value in _values(step)} - {None, *parameters}:
        yield f"PipelineDefinition: the parameters {sorted(map(str, unknown))} are used and not declared"


def filled(value: Any, parameters: Mapping[str, str]) -> Any:
    """Return a part of a definition with its parameters in place."""
    if (name := _got(value)) is not None:
        return parameters[name]
    if isinstance(value, dict):
        return {key: filled(item, parameters) for key, item in value.items()}
    return [filled(item, parameters) for item in value] if isinstance(value, list) else value


def _got(value: Any) -> str | None:
    """Return the parameter that a value stands for, if it does."""
    get = value.get("Get") if isinstance(value, dict) and len(value) == 1 else None
    return get.removeprefix("Parameters.") if isinstance(get, str) else None


def _values(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _values(item)


class Pipelines:
    """Pipelines and their executions, as the API shows and changes them. `calls` has a function for each operation."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings, self._registry, self._account = settings, registry, Account(settings, registry)
        self._work: dict[str, asyncio.Task[None]] = {}
        self.calls: dict[str, Callable[[Json], Json]] = {
            "CreatePipeline": self._create,
            "StartPipelineExecution": self._start,
            "DescribePipelineExecution": self._describe,
            "StopPipelineExecution": self._stop,
        }

    async def recover(self) -> None:
        """End what an earlier control plane left running and run it again; call before the first request."""
        for execution in self._registry.all_of(EXECUTION):
            if execution.status in _ACTIVE:
                await reap(self._home(execution))
            if execution.status == "Executing":
                self._submit(execution)
            elif execution.status == "Stopping":
                self._registry.update(EXECUTION, execution.name, {}, status="Stopped")

    async def close(self) -> None:
        """End every command; the next control plane runs it again."""
        work = list(self._work.values())
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    def _create(self, request: Json) -> Json:
        name = request["PipelineName"]
        if self._registry.get(PIPELINE, name) is not None:
            raise AwsError("ValidationException", f"Pipeline names must be unique within an AWS account and region; {name} already exists")
        if found := [*problems(request.get("PipelineDefinition", ""))]:
            raise AwsError("ValidationException", "; ".join(found))
        return {"PipelineArn": self._account.store(PIPELINE, name, request, status="Active").arn}

    def _start(self, request: Json) -> Json:
        pipeline = self._account.find(PIPELINE, request["PipelineName"])
        token = f"{pipeline.name}:{request['ClientRequestToken']}"
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        made = self._registry.by_token(EXECUTION, token)
        if made is not None:
            if made.digest != digest:
                raise AwsError("ConflictException", f"ClientRequestToken was used for another request, which started {made.arn}")
            return {"PipelineExecutionArn": made.arn}
        parameters = self._parameters(pipeline, {item["Name"]: item["Value"] for item in request.get("PipelineParameters", [])})
        active = sum(execution.status in _ACTIVE for execution in self._registry.all_of(EXECUTION))
        if active >= self._settings.max_active_jobs:
            raise AwsError("ResourceLimitExceeded", f"{active} pipeline executions are active, which is this account's limit")
        number, now = uuid.uuid4().hex[:12], time.time()
        body = {
            "PipelineArn": pipeline.arn, "PipelineExecutionDisplayName": request.get("PipelineExecutionDisplayName", f"execution-{number}"),
            "Step": filled(json.loads(pipeline.body["PipelineDefinition"])["Steps"][0]["Arguments"], parameters),
        }  # fmt: skip
        execution = Resource(
            EXECUTION, f"{pipeline.name}/{number}", f"{pipeline.arn}/execution/{number}", "Executing", body, now, now, token, digest
        )
        self._registry.create(execution)
        self._submit(execution)
        return {"PipelineExecutionArn": execution.arn}

    @staticmethod
    def _parameters(pipeline: Resource, given: Mapping[str, str]) -> dict[str, str]:
        declared = json.loads(pipeline.body["PipelineDefinition"]).get("Parameters", [])
        known = {item["Name"]: str(item["DefaultValue"]) for item in declared if "DefaultValue" in item} | dict(given)
        names = {item["Name"] for item in declared}
        if wrong := sorted(names ^ known.keys()):
            raise AwsError("ValidationException", f"Parameters [{', '.join(wrong)}] are not declared by the pipeline, or have no value")
        return known

    def _describe(self, request: Json) -> Json:
        found = self._account.find(EXECUTION, request["PipelineExecutionArn"])
        known = {
            "PipelineExecutionArn": found.arn, "PipelineExecutionStatus": found.status,
            "CreationTime": found.created, "LastModifiedTime": found.modified,
        }  # fmt: skip
        return project("DescribePipelineExecution", {**found.body, **known})

    def _stop(self, request: Json) -> Json:
        found = self._account.find(EXECUTION, request["PipelineExecutionArn"])
        if found.status not in _ACTIVE:
            raise AwsError("ValidationException", f"{found.arn} is {found.status} and cannot be stopped")
        if found.status == "Executing":
            self._registry.update(EXECUTION, found.name, {}, status="Stopping")
            self._work[found.name].cancel()
        return {"PipelineExecutionArn": found.arn}

    def _submit(self, execution: Resource) -> None:
        task = self._work[execution.name] = asyncio.create_task(self._run(execution))
        task.add_done_callback(lambda _: self._left(execution.name))

    def _left(self, name: str) -> None:
        """Note that a command is over which somebody wanted to stop, even before it began."""
        del self._work[name]
        found = self._registry.get(EXECUTION, name)
        if found is not None and found.status == "Stopping":
            self._registry.update(EXECUTION, name, {}, status="Stopped")

    async def _run(self, execution: Resource) -> None:
        """Run the command to its end, or to that of its task; its log stays."""
        await asyncio.sleep(self._settings.min_state_seconds)
        home, step = self._home(execution), execution.body["Step"]
        base, app = home / "opt" / "ml", step["AppSpecification"]
        code: int | str
        try:
            (base / "code").mkdir(mode=0o700, parents=True, exist_ok=True)
            (home / "log.txt").unlink(missing_ok=True)
            argv = command(app["ContainerEntrypoint"], app.get("ContainerArguments", []))
            env = variables(base, step.get("Environment", {}))
            child = await Child.start(argv, env=env, home=home, cwd=base / "code", grace=self._settings.grace_seconds)
            code = await child.wait()
        except OSError as exc:
            code = f"the command could not be started: {exc}"
        said = {} if code == 0 else {"FailureReason": f"Step failure: exit code: {code}: {log_tail(home)}"[:MAX_REASON]}
        self._registry.update(EXECUTION, execution.name, said, status="Failed" if said else "Succeeded")

    def _home(self, execution: Resource) -> Path:
        return self._settings.root / "pipelines" / execution.name
