"""A SageMaker in memory that keeps the rules that matter: names are unique, answers get lost, quotas run out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from driftsonde.core.errors import ConfigError, QuotaReached, RetryableError
from driftsonde.core.ports import JobState, JobStatus

_NAMES = {
    "training": "TrainingJobName", "processing": "ProcessingJobName", "transform": "TransformJobName", "model": "ModelName",
    "endpoint-config": "EndpointConfigName", "tuning": "HyperParameterTuningJobName",
}  # fmt: skip


@dataclass
class FakeTrainingJobs:
    """Implements `ports.TrainingJobs`.

    Args:
        lose_answers: how many of the next creations succeed without telling.
        quota: how many jobs may be created; None for no limit.
    """

    lose_answers: int = 0
    quota: int | None = None
    created: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    packages: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    judged: dict[str, str] = field(default_factory=dict)
    _status: dict[str, JobStatus] = field(default_factory=dict)

    async def create(self, kind: str, request: Mapping[str, Any]) -> None:
        """Create; a repeat by the same tags is adopted, anybody else's name is refused."""
        name = request[_NAMES[kind]]
        if name in self.created:
            if self.created[name][1].get("Tags") != request.get("Tags"):
                raise ConfigError(f"{name} exists and is not ours")
            return
        if self.quota is not None and len(self.created) >= self.quota:
            raise QuotaReached("no more jobs", retry_after=3600)
        self.created[name] = (kind, dict(request))
        if self.lose_answers:
            self.lose_answers -= 1
            raise RetryableError("the answer was lost")

    async def status(self, kind: str, name: str) -> JobStatus:
        """Describe: running until `finish` was called."""
        if self.created[name][0] != kind:
            raise ConfigError(f"{name} is no {kind} job")
        return self._status.get(name, JobStatus("running"))

    async def stop(self, kind: str, name: str) -> None:
        """Note the wish."""
        self.stopped.append(name)

    async def register(self, group: str, request: Mapping[str, Any]) -> str:
        """Register once per client token."""
        token = f"{group}/{request['ClientToken']}"
        self.packages.setdefault(token, dict(request))
        return f"arn:aws:sagemaker:us-east-1:000000000000:model-package/{group}/{list(self.packages).index(token) + 1}"

    async def judge(self, package: str, status: Literal["Approved", "Rejected"], reason: str) -> None:
        """Note the newest judgement of a package."""
        self.judged[package] = status

    def finish(self, name: str, state: JobState = "succeeded", detail: str = "", *, metrics: Mapping[str, float] | None = None) -> None:
        """End a job."""
        artifact = f"s3://acme/{name}/output/model.tar.gz" if self.created[name][0] in ("training", "tuning") else None
        self._status[name] = JobStatus(state, detail, metrics, artifact, 1.0)

    def names(self, step: str) -> list[str]:
        """Return the names created for a step."""
        tuned = step == "train"  # the name of a tuning job has no room for its step
        return [name for name, (kind, _) in self.created.items() if f"-{step}-" in name or (tuned and kind == "tuning")]
