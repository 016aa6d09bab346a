"""A job's way through its states: stored first, then told."""

from __future__ import annotations

import time
from typing import Any

from driftsonde.core.local.sagemaker.kinds import JobKind, Json
from driftsonde.core.local.sagemaker.notify import Notifier, state_change
from driftsonde.core.local.sagemaker.registry import Registry, Resource

_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training in progress",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Stopping": "Stopping the training job",
    "Interrupted": "The control plane was stopped; the job is run again",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}


class Progress:
    """Writes every change of a job's state to the registry and hands it to the notifier."""

    def __init__(self, registry: Registry, notifier: Notifier) -> None:
        self._registry = registry
        self._notifier = notifier

    def created(self, kind: JobKind, job: Resource) -> None:
        """Tell of a job that was just stored."""
        self._tell(kind, job)

    def phase(self, kind: JobKind, name: str, state: str) -> None:
        """Enter a secondary state; nothing to do for kinds without them, or when it is the present one."""
        fields = self._transition(kind, name, state)
        if fields:
            self._tell(kind, self._registry.update(kind.name, name, fields))

    def started(self, kind: JobKind, name: str) -> None:
        """Note when the job's own work began."""
        self._registry.update(kind.name, name, {kind.moment("Start"): time.time()})

    def stopping(self, kind: JobKind, name: str) -> None:
        """Note that somebody asked the job to stop."""
        self._tell(kind, self._registry.update(kind.name, name, self._transition(kind, name, "Stopping"), status="Stopping"))

    def ended(self, kind: JobKind, name: str, status: str, *, secondary: str | None = None, **fields: Any) -> None:
        """Note the job's end; `fields` join its description."""
        now = time.time()
        fields = {**fields, **self._transition(kind, name, secondary or status, final=True), kind.moment("End"): now}
        before = self._registry.get(kind.name, name)
        start = before.body.get(kind.moment("Start")) if before else None
        if kind.phased and start is not None:
            seconds = max(1, round(now - start))
            fields |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
        self._tell(kind, self._registry.update(kind.name, name, fields, status=status))

    def _transition(self, kind: JobKind, name: str, state: str, *, final: bool = False) -> Json:
        job = self._registry.get(kind.name, name)
        if not kind.phased or job is None or job.body.get("SecondaryStatus") == state:
            return {}
        now = time.time()
        past = [{"EndTime": now, **step} for step in job.body.get("SecondaryStatusTransitions", [])]
        step = {"Status": state, "StartTime": now, "StatusMessage": _MESSAGES.get(state, state)}
        return {"SecondaryStatus": state, "SecondaryStatusTransitions": [*past, {**step, "EndTime": now} if final else step]}

    def _tell(self, kind: JobKind, job: Resource) -> None:
        self._notifier.publish(state_change(kind, job, self._registry.tags(job.arn)))
