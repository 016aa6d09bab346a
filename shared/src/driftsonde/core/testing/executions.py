"""Pipelines and state machines in memory: a token or name starts one execution, answers get lost, quotas run out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftsonde.core.errors import ConfigError, QuotaReached, RetryableError
from driftsonde.core.ports import JobState, JobStatus


@dataclass
class FakeExecutions:
    """Implements `ports.Executions`.

    Args:
        lose_answers: how many of the next starts succeed without telling.
        quota: how many executions may be started; None for no limit.
    """

    lose_answers: int = 0
    quota: int | None = None
    started: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    _status: dict[str, JobStatus] = field(default_factory=dict)

    async def start(self, request: Mapping[str, Any]) -> str:
        """Start once for each token or name; the same with another request is refused."""
        execution = f"arn:execution:{request.get('ClientRequestToken') or request['name']}"
        if execution in self.started:
            if self.started[execution] != request:
                raise ConfigError(f"{execution} exists and is not ours")
            return execution
        if self.quota is not None and len(self.started) >= self.quota:
            raise QuotaReached("no more executions", retry_after=3600)
        self.started[execution] = dict(request)
        if self.lose_answers:
            self.lose_answers -= 1
            raise RetryableError("the answer was lost")
        return execution

    async def status(self, execution: str) -> JobStatus:
        """Describe: running until it was stopped or `finish` was called."""
        if execution not in self.started:
            return JobStatus("unknown", "no such execution")
        return self._status.get(execution, JobStatus("stopped" if execution in self.stopped else "running"))

    async def stop(self, execution: str, reason: str) -> None:
        """Stop at once."""
        self.stopped[execution] = reason

    def finish(self, execution: str, state: JobState = "succeeded", detail: str = "", *, seconds: float = 1.0) -> None:
        """End an execution."""
        self._status[execution] = JobStatus(state, detail, seconds=seconds)
