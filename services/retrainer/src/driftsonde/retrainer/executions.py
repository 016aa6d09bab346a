"""SageMaker Pipelines and Step Functions through aiobotocore: an execution is started once, described and stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from driftsonde.core.aws.session import AWS_ERRORS, TRANSPORT_ERRORS, as_retryable, error_code
from driftsonde.core.errors import ConfigError, DriftsondeError, QuotaReached
from driftsonde.core.names import digest
from driftsonde.core.ports import JobState, JobStatus

_PIPELINE_STATES: Final[dict[str, JobState]] = {
    "Executing": "running", "Stopping": "running", "Stopped": "stopped", "Failed": "failed", "Succeeded": "succeeded",
    "CompletedWithFailures": "failed",
}  # fmt: skip
_MACHINE_STATES: Final[dict[str, JobState]] = {
    "RUNNING": "running", "PENDING_REDRIVE": "running", "SUCCEEDED": "succeeded", "FAILED": "failed", "TIMED_OUT": "failed",
    "ABORTED": "stopped",
}  # fmt: skip
_REFUSED: Final = frozenset({
    "ValidationException", "ResourceNotFound", "StateMachineDoesNotExist", "StateMachineDeleting", "StateMachineTypeNotSupported",
    "InvalidArn", "InvalidName", "InvalidExecutionInput",
})  # fmt: skip
_FULL: Final = frozenset({"ResourceLimitExceeded", "ExecutionLimitExceeded"})
_UNKNOWN: Final = frozenset({"ResourceNotFound", "ExecutionDoesNotExist"})
# Of an execution that is over, or is being stopped already.
_NOTHING_TO_STOP: Final = _UNKNOWN | {"ValidationException", "ConflictException"}


class PipelineExecutions:
    """Implements `ports.Executions` for SageMaker Pipelines. The client token makes a repeated start harmless."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def start(self, request: Mapping[str, Any]) -> str:
        """Start an execution, or find the one that this token has started; returns its ARN.

        Raises:
            ConfigError: if SageMaker says the request is wrong, or knows no such pipeline.
            QuotaReached: if too many executions run.
            RetryableError: if the answer was lost or SageMaker is away; the next try finds what was started.
        """
        try:
            answer = await self._client.start_pipeline_execution(**request)
        except AWS_ERRORS as exc:
            raise _refusal(exc, f"the start of pipeline {request['PipelineName']}") from exc
        return str(answer["PipelineExecutionArn"])

    async def status(self, execution: str) -> JobStatus:
        """Describe an execution; `unknown` if there is none of that ARN."""
        try:
            answer = await self._client.describe_pipeline_execution(PipelineExecutionArn=execution)
        except AWS_ERRORS as exc:
            return _unknown(exc)
        state = _PIPELINE_STATES.get(answer["PipelineExecutionStatus"], "running")
        # SageMaker names no end; after it nothing is modified.
        seconds = None if state == "running" else _between(answer.get("CreationTime"), answer.get("LastModifiedTime"))
        return JobStatus(state, answer.get("FailureReason", ""), seconds=seconds)

    async def stop(self, execution: str, reason: str) -> None:
        """Ask an execution to stop; one that is over or unknown is left alone. SageMaker keeps no reason."""
        try:
            await self._client.stop_pipeline_execution(PipelineExecutionArn=execution, ClientRequestToken=digest("stop", execution))
        except AWS_ERRORS as exc:
            _unless_over(exc)


class StateMachineExecutions:
    """Implements `ports.Executions` for standard Step Functions state machines. The execution's name is the lock."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def start(self, request: Mapping[str, Any]) -> str:
        """Start an execution; one of that name is adopted when it was given the same input. Returns its ARN.

        Raises:
            ConfigError: if Step Functions says the request is wrong, the name belongs to somebody else, or the state machine
                is an express one, whose executions cannot be described.
            QuotaReached: if too many executions run.
            RetryableError: if the answer was lost or Step Functions is away; the next try adopts what was started.
        """
        try:
            answer = await self._client.start_execution(**request)
        except ClientError as exc:
            if error_code(exc) == "ExecutionAlreadyExists":
                return await self._adopted(request)
            raise _refusal(exc, f"the start of {request['stateMachineArn']}") from exc
        except TRANSPORT_ERRORS as exc:
            raise as_retryable(exc) from exc
        execution = str(answer["executionArn"])
        if ":express:" in execution:
            raise ConfigError(
                f"{request['stateMachineArn']} is an express workflow: it was started and cannot be watched; use a standard one"
            )
        return execution

    async def _adopted(self, request: Mapping[str, Any]) -> str:
        partition = request["stateMachineArn"].split(":")  # arn, partition, states, region, account, stateMachine, name, perhaps an alias
        execution = ":".join([*partition[:5], "execution", partition[6], request["name"]])
        try:
            found = await self._client.describe_execution(executionArn=execution)
        except AWS_ERRORS as exc:
            raise as_retryable(exc) from exc
        if not _same(found.get("input"), request["input"]):
            raise ConfigError(f"{execution} exists and is not ours: it has another input; change `deployment`")
        return execution

    async def status(self, execution: str) -> JobStatus:
        """Describe an execution; `unknown` if there is none of that ARN."""
        try:
            answer = await self._client.describe_execution(executionArn=execution)
        except AWS_ERRORS as exc:
            return _unknown(exc)
        said = [answer[key] for key in ("error", "cause") if answer.get(key)] or [answer["status"]]
        state = _MACHINE_STATES.get(answer["status"], "running")
        return JobStatus(state, ": ".join(said), seconds=_between(answer.get("startDate"), answer.get("stopDate")))

    async def stop(self, execution: str, reason: str) -> None:
        """Ask an execution to stop, with the reason; one that is over or unknown is left alone."""
        try:
            await self._client.stop_execution(executionArn=execution, error="Driftsonde.Timeout", cause=reason)
        except AWS_ERRORS as exc:
            _unless_over(exc)


def _refusal(exc: BaseException, what: str) -> DriftsondeError:
    code = error_code(exc) if isinstance(exc, ClientError) else ""
    if code in _FULL:
        return QuotaReached(f"AWS: {code}", retry_after=3600.0)
    return ConfigError(f"AWS refuses {what}: {exc}") if code in _REFUSED else as_retryable(exc)


def _unknown(exc: BaseException) -> JobStatus:
    if isinstance(exc, ClientError) and error_code(exc) in _UNKNOWN:
        return JobStatus("unknown", f"AWS knows no such execution: {exc}")
    raise as_retryable(exc) from exc


def _unless_over(exc: BaseException) -> None:
    if not (isinstance(exc, ClientError) and error_code(exc) in _NOTHING_TO_STOP):
        raise as_retryable(exc) from exc


def _same(theirs: str | None, ours: str) -> bool:
    try:
        return theirs is not None and bool(json.loads(theirs) == json.loads(ours))
    except ValueError:
        return False


def _between(start: object, end: object) -> float | None:
    return (end - start).total_seconds() if isinstance(start, datetime) and isinstance(end, datetime) else None
